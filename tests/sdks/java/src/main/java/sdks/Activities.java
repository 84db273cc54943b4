package sdks;

import io.temporal.activity.Activity;
import io.temporal.activity.ActivityInterface;
import io.temporal.client.ActivityCompletionException;

/** What the workflows have done outside. */
@ActivityInterface
public interface Activities {
  String greet(String name);

  void await();

  int twice(int n);

  /** Fails once, beats, and then greets; beats until it is cancelled. */
  final class Real implements Activities {
    @Override
    public String greet(String name) {
      if (Activity.getExecutionContext().getInfo().getAttempt() == 1) {
        throw new IllegalStateException("the first attempt fails");
      }
      Activity.getExecutionContext().heartbeat(name);
      return "Hello, " + name;
    }

    @Override
    public void await() {
      while (true) {
        try {
          Activity.getExecutionContext().heartbeat(null);
          Thread.sleep(50);
        } catch (InterruptedException interrupted) {
          throw new IllegalStateException(interrupted);
        } catch (ActivityCompletionException cancelled) {
          throw cancelled;
        }
      }
    }

    @Override
    public int twice(int n) {
      return 2 * n;
    }
  }
}
