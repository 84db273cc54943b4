package sdks;

import io.temporal.activity.ActivityCancellationType;
import io.temporal.activity.ActivityOptions;
import io.temporal.activity.LocalActivityOptions;
import io.temporal.common.RetryOptions;
import io.temporal.failure.ActivityFailure;
import io.temporal.workflow.Async;
import io.temporal.workflow.ChildWorkflowOptions;
import io.temporal.workflow.Promise;
import io.temporal.workflow.QueryMethod;
import io.temporal.workflow.SignalMethod;
import io.temporal.workflow.UpdateMethod;
import io.temporal.workflow.UpdateValidatorMethod;
import io.temporal.workflow.Workflow;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** The workflows of this program. */
public final class Workflows {
  private Workflows() {}

  private static Activities activities() {
    return Workflow.newActivityStub(
        Activities.class,
        ActivityOptions.newBuilder()
            .setStartToCloseTimeout(Duration.ofSeconds(20))
            .setHeartbeatTimeout(Duration.ofSeconds(5))
            .setCancellationType(ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)
            .setRetryOptions(RetryOptions.newBuilder().setInitialInterval(Duration.ofMillis(10)).build())
            .build());
  }

  @WorkflowInterface
  public interface Work {
    @WorkflowMethod
    String run(String name);
  }

  /** Uses an activity, a local activity, a side effect, a version and a timer. */
  public static final class WorkImpl implements Work {
    @Override
    public String run(String name) {
      String greeting = activities().greet(name);
      Activities local =
          Workflow.newLocalActivityStub(
              Activities.class,
              LocalActivityOptions.newBuilder().setStartToCloseTimeout(Duration.ofSeconds(1)).build());
      int four = local.twice(2);
      int side = Workflow.sideEffect(Integer.class, () -> 7);
      int version = Workflow.getVersion("change", Workflow.DEFAULT_VERSION, 1);
      Workflow.sleep(Duration.ofMillis(50));
      Workflow.upsertMemo(Map.of("note", greeting));
      return greeting + " " + four + " " + side + " " + version;
    }
  }

  @WorkflowInterface
  public interface Basket {
    @WorkflowMethod
    List<String> run();

    @SignalMethod
    void put(String item);

    @SignalMethod
    void close();

    @QueryMethod
    List<String> items();

    @UpdateMethod
    int add(String item);

    @UpdateValidatorMethod(updateName = "add")
    void checkAdd(String item);
  }

  /** Gathers what it is told until it is closed. */
  public static final class BasketImpl implements Basket {
    private final List<String> held = new ArrayList<>();
    private boolean closed;

    @Override
    public List<String> run() {
      Workflow.await(() -> closed);
      return held;
    }

    @Override
    public void put(String item) {
      held.add(item);
    }

    @Override
    public void close() {
      closed = true;
    }

    @Override
    public List<String> items() {
      return held;
    }

    @Override
    public int add(String item) {
      Workflow.sleep(Duration.ofMillis(10));
      held.add(item);
      return held.size();
    }

    @Override
    public void checkAdd(String item) {
      if (item.isEmpty()) {
        throw new IllegalArgumentException("an item has a name");
      }
    }
  }

  @WorkflowInterface
  public interface Parent {
    @WorkflowMethod
    String run(String name);
  }

  /** Runs a child, signals another, and asks for its end. */
  public static final class ParentImpl implements Parent {
    @Override
    public String run(String name) {
      String id = Workflow.getInfo().getWorkflowId();
      String done =
          Workflow.newChildWorkflowStub(
                  Work.class, ChildWorkflowOptions.newBuilder().setWorkflowId(id + "-work").build())
              .run(name);
      Basket child =
          Workflow.newChildWorkflowStub(
              Basket.class, ChildWorkflowOptions.newBuilder().setWorkflowId(id + "-basket").build());
      Promise<List<String>> items = Async.function(child::run);
      Workflow.getWorkflowExecution(child).get();
      child.put("apple");
      Workflow.newExternalWorkflowStub(Basket.class, id + "-basket").close();
      return done + " " + items.get();
    }
  }

  @WorkflowInterface
  public interface Countdown {
    @WorkflowMethod
    String run(int n);
  }

  /** Continues as new until zero. */
  public static final class CountdownImpl implements Countdown {
    @Override
    public String run(int n) {
      if (n > 0) {
        Workflow.newContinueAsNewStub(Countdown.class).run(n - 1);
      }
      return "lift-off";
    }
  }

  @WorkflowInterface
  public interface Cancellable {
    @WorkflowMethod
    void run();
  }

  /** Waits for its activity to notice that it was cancelled. */
  public static final class CancellableImpl implements Cancellable {
    @Override
    public void run() {
      try {
        activities().await();
      } catch (ActivityFailure failure) {
        Workflow.newDetachedCancellationScope(() -> Workflow.sleep(Duration.ofMillis(10))).run();
        throw failure;
      }
    }
  }
}
