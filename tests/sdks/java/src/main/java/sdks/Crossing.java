package sdks;

import io.temporal.client.WorkflowClient;
import io.temporal.client.WorkflowClientOptions;
import io.temporal.client.WorkflowFailedException;
import io.temporal.client.WorkflowOptions;
import io.temporal.client.WorkflowStub;
import io.temporal.common.converter.CodecDataConverter;
import io.temporal.common.converter.DefaultDataConverter;
import io.temporal.envconfig.ClientConfigProfile;
import io.temporal.failure.ApplicationFailure;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.worker.WorkerFactory;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.time.Duration;
import java.util.List;

/** Serves a queue, or asks a worker of another language: {@code serve QUEUE}, {@code ask QUEUE ID TEXT}. */
public final class Crossing {
  /** The workflow that every language serves: it tells who has read what. */
  @WorkflowInterface
  public interface Read {
    @WorkflowMethod(name = "Read")
    String run(String text);
  }

  public static final class ReadImpl implements Read {
    @Override
    public String run(String text) {
      if (text.startsWith("fail")) {
        throw ApplicationFailure.newNonRetryableFailure("java has read " + text, "Refused");
      }
      return "java has read " + text;
    }
  }

  private Crossing() {}

  public static void main(String[] arguments) throws Exception {
    ClientConfigProfile profile = ClientConfigProfile.load();
    WorkflowServiceStubs service =
        WorkflowServiceStubs.newConnectedServiceStubs(
            profile.toWorkflowServiceStubsOptions(), Duration.ofSeconds(10));
    WorkflowClientOptions.Builder options =
        WorkflowClientOptions.newBuilder(profile.toWorkflowClientOptions());
    String ring = System.getenv("KEY_RING");
    if (ring != null && !ring.isEmpty()) {
      RingCodec codec = new RingCodec(ring, "samples".equals(System.getenv("WRITE_FORMAT")));
      // True: messages and stack traces of failures go through the codec, too.
      options.setDataConverter(
          new CodecDataConverter(DefaultDataConverter.newDefaultInstance(), List.of(codec), true));
    }
    WorkflowClient client = WorkflowClient.newInstance(service, options.build());
    if (arguments[0].equals("serve")) {
      WorkerFactory factory = WorkerFactory.newInstance(client);
      factory.newWorker(arguments[1]).registerWorkflowImplementationTypes(ReadImpl.class);
      factory.start();
      System.out.println("ready");
      Thread.currentThread().join();
    }
    WorkflowStub stub =
        client.newUntypedWorkflowStub(
            "Read",
            WorkflowOptions.newBuilder().setTaskQueue(arguments[1]).setWorkflowId(arguments[2]).build());
    stub.start(arguments[3]);
    String told;
    try {
      told = stub.getResult(String.class);
    } catch (WorkflowFailedException error) {
      told = error.getMessage() + ": " + error.getCause();
    }
    System.out.println("told: " + told.replace('\n', ' '));
    System.exit(0);
  }
}
