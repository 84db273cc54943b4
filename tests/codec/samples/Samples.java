import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.HexFormat;
import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;

/**
 * Seals and opens as the Java sample does: nonce first, AES/GCM/NoPadding, no associated data.
 *
 * <p>java Samples.java seal|open < lines of hex words
 */
public class Samples {
  public static void main(String[] arguments) throws Exception {
    boolean seal = arguments[0].equals("seal");
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      byte[][] parts =
          Arrays.stream(line.trim().split(" "))
              .map(word -> HexFormat.of().parseHex(word.substring(1)))
              .toArray(byte[][]::new);
      byte[] nonce = seal ? parts[1] : Arrays.copyOf(parts[1], 12);
      Cipher cipher = Cipher.getInstance("AES/GCM/NoPadding");
      cipher.init(
          seal ? Cipher.ENCRYPT_MODE : Cipher.DECRYPT_MODE,
          new SecretKeySpec(parts[0], "AES"),
          new GCMParameterSpec(128, nonce));
      ByteArrayOutputStream out = new ByteArrayOutputStream();
      if (seal) {
        out.write(nonce);
        out.write(cipher.doFinal(parts[2]));
      } else {
        out.write(cipher.doFinal(parts[1], 12, parts[1].length - 12));
      }
      System.out.println("x" + HexFormat.of().formatHex(out.toByteArray()));
    }
  }
}
