package sdks;

import io.temporal.api.enums.v1.PendingActivityState;
import io.temporal.api.enums.v1.WorkflowIdConflictPolicy;
import io.temporal.api.workflowservice.v1.DescribeWorkflowExecutionRequest;
import io.temporal.client.UpdateOptions;
import io.temporal.client.WithStartWorkflowOperation;
import io.temporal.client.WorkflowClient;
import io.temporal.client.WorkflowExecutionCount;
import io.temporal.client.WorkflowFailedException;
import io.temporal.client.WorkflowOptions;
import io.temporal.client.WorkflowQueryException;
import io.temporal.client.WorkflowStub;
import io.temporal.client.WorkflowUpdateException;
import io.temporal.client.WorkflowUpdateHandle;
import io.temporal.client.WorkflowUpdateStage;
import io.temporal.client.schedules.Schedule;
import io.temporal.client.schedules.ScheduleActionStartWorkflow;
import io.temporal.client.schedules.ScheduleClient;
import io.temporal.client.schedules.ScheduleClientOptions;
import io.temporal.client.schedules.ScheduleDescription;
import io.temporal.client.schedules.ScheduleHandle;
import io.temporal.client.schedules.ScheduleIntervalSpec;
import io.temporal.client.schedules.ScheduleOptions;
import io.temporal.client.schedules.ScheduleSpec;
import io.temporal.client.schedules.ScheduleUpdate;
import io.temporal.envconfig.ClientConfigProfile;
import io.temporal.failure.CanceledFailure;
import io.temporal.failure.TerminatedFailure;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.testing.WorkflowReplayer;
import io.temporal.worker.Worker;
import io.temporal.worker.WorkerFactory;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/**
 * Uses a Temporal service through the Java SDK: connects by the environment's configuration, runs a worker, and prints a
 * line for each step: its name and "ok", or what went wrong.
 */
public final class Main {
  private static final long STEP_SECONDS = 60;
  private static final String PREFIX = "java-" + System.nanoTime() + "-";
  private static final String QUEUE = PREFIX + "queue";

  private final WorkflowClient client;
  private final ScheduleClient scheduleClient;

  private Main(WorkflowClient client, ScheduleClient scheduleClient) {
    this.client = client;
    this.scheduleClient = scheduleClient;
  }

  private interface Step {
    void run() throws Exception;
  }

  private static WorkflowOptions.Builder options(String id) {
    return WorkflowOptions.newBuilder().setWorkflowId(PREFIX + id).setTaskQueue(QUEUE);
  }

  private static void expect(Object got, Object wanted) {
    if (!Objects.equals(got, wanted)) {
      throw new IllegalStateException("got " + got + ", expected " + wanted);
    }
  }

  private static <T extends Throwable> T refused(Class<T> kind, Callable<?> call) throws Exception {
    try {
      call.call();
    } catch (Throwable error) {
      if (kind.isInstance(error)) {
        return kind.cast(error);
      }
      throw error;
    }
    throw new IllegalStateException("no " + kind.getSimpleName());
  }

  private void activities() {
    String result = client.newWorkflowStub(Workflows.Work.class, options("work").build()).run("Ada");
    expect(result, "Hello, Ada 4 7 1");
  }

  private void signalsAndQueries() throws Exception {
    WorkflowStub basket = client.newUntypedWorkflowStub("Basket", options("basket").build());
    basket.signalWithStart("put", new Object[] {"pear"}, new Object[] {});
    basket.signal("put", "plum");
    expect(basket.query("items", List.class), List.of("pear", "plum"));
    refused(WorkflowQueryException.class, () -> basket.query("none", List.class));
    basket.signal("close");
    expect(basket.getResult(List.class), List.of("pear", "plum"));
  }

  private void updates() throws Exception {
    Workflows.Basket typed = client.newWorkflowStub(Workflows.Basket.class, options("updated").build());
    WorkflowClient.start(typed::run);
    WorkflowStub basket = WorkflowStub.fromTyped(typed);
    expect(basket.update("add", Integer.class, "apple"), 1);
    WorkflowUpdateHandle<Integer> handle =
        basket.startUpdate("add", WorkflowUpdateStage.ACCEPTED, Integer.class, "pear");
    expect(basket.getUpdateHandle(handle.getId(), Integer.class).getResult(), 2);
    refused(WorkflowUpdateException.class, () -> basket.update("add", Integer.class, ""));
    Workflows.Basket again =
        client.newWorkflowStub(
            Workflows.Basket.class,
            options("updated")
                .setWorkflowIdConflictPolicy(WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING)
                .build());
    int count =
        WorkflowClient.executeUpdateWithStart(
            again::add,
            "fig",
            UpdateOptions.<Integer>newBuilder().build(),
            new WithStartWorkflowOperation<>(again::run));
    expect(count, 3);
  }

  private void children() {
    String result = client.newWorkflowStub(Workflows.Parent.class, options("parent").build()).run("Bob");
    expect(result, "Hello, Bob 4 7 1 [apple]");
  }

  private void continueAsNew() {
    expect(
        client.newWorkflowStub(Workflows.Countdown.class, options("countdown").build()).run(3), "lift-off");
  }

  private void cancelAndTerminate() throws Exception {
    WorkflowStub cancelled = client.newUntypedWorkflowStub("Cancellable", options("cancelled").build());
    DescribeWorkflowExecutionRequest described =
        DescribeWorkflowExecutionRequest.newBuilder()
            .setNamespace(client.getOptions().getNamespace())
            .setExecution(cancelled.start())
            .build();
    while (client
        .getWorkflowServiceStubs()
        .blockingStub()
        .describeWorkflowExecution(described)
        .getPendingActivitiesList()
        .stream()
        .noneMatch(a -> a.getState() == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED)) {
      Thread.sleep(20);
    }
    cancelled.cancel();
    Throwable cause =
        refused(WorkflowFailedException.class, () -> cancelled.getResult(Void.class)).getCause();
    expect(cause.getClass(), CanceledFailure.class);
    WorkflowStub terminated = client.newUntypedWorkflowStub("Basket", options("terminated").build());
    terminated.start();
    terminated.terminate("enough");
    cause = refused(WorkflowFailedException.class, () -> terminated.getResult(List.class)).getCause();
    expect(cause.getClass(), TerminatedFailure.class);
  }

  private void schedules() throws Exception {
    ScheduleActionStartWorkflow action =
        ScheduleActionStartWorkflow.newBuilder()
            .setWorkflowType(Workflows.Countdown.class)
            .setArguments(0)
            .setOptions(options("scheduled").build())
            .build();
    ScheduleHandle schedule =
        scheduleClient.createSchedule(
            PREFIX + "schedule",
            Schedule.newBuilder().setAction(action).setSpec(every(Duration.ofHours(24))).build(),
            ScheduleOptions.newBuilder().setMemo(Map.of("note", "daily")).build());
    schedule.trigger();
    schedule.pause("later");
    schedule.update(
        input ->
            new ScheduleUpdate(
                Schedule.newBuilder(input.getDescription().getSchedule())
                    .setSpec(every(Duration.ofHours(1)))
                    .build()));
    ScheduleDescription described = schedule.describe();
    while (described.getInfo().getRecentActions().size() != 1) {
      Thread.sleep(20);
      described = schedule.describe();
    }
    expect(described.getSchedule().getState().isPaused(), true);
    expect(described.getSchedule().getSpec().getIntervals().get(0).getEvery(), Duration.ofHours(1));
    expect(scheduleClient.listSchedules().anyMatch(s -> s.getScheduleId().equals(schedule.getId())), true);
    schedule.delete();
  }

  private static ScheduleSpec every(Duration interval) {
    return ScheduleSpec.newBuilder().setIntervals(List.of(new ScheduleIntervalSpec(interval))).build();
  }

  private void visibility() throws Exception {
    String query = "TaskQueue = '" + QUEUE + "' AND ExecutionStatus = 'Completed'";
    while (true) {
      WorkflowExecutionCount counted = client.countWorkflows(query);
      if (counted.getCount() >= 5 && client.listExecutions(query).count() == counted.getCount()) {
        return;
      }
      Thread.sleep(50);
    }
  }

  private void replay() throws Exception {
    WorkflowReplayer.replayWorkflowExecution(
        client.fetchHistory(PREFIX + "work"), Workflows.WorkImpl.class);
  }

  private void all() throws Exception {
    Map<String, Step> steps = new LinkedHashMap<>();
    steps.put("activities and timers", this::activities);
    steps.put("signals and queries", this::signalsAndQueries);
    steps.put("updates", this::updates);
    steps.put("children", this::children);
    steps.put("continue as new", this::continueAsNew);
    steps.put("cancel and terminate", this::cancelAndTerminate);
    steps.put("schedules", this::schedules);
    steps.put("visibility", this::visibility);
    steps.put("replay", this::replay);
    ExecutorService executor = Executors.newCachedThreadPool();
    for (Map.Entry<String, Step> step : steps.entrySet()) {
      Future<Void> done =
          executor.submit(
              () -> {
                step.getValue().run();
                return null;
              });
      try {
        done.get(STEP_SECONDS, TimeUnit.SECONDS);
        System.out.println(step.getKey() + ": ok");
      } catch (Exception error) {
        Throwable cause = error.getCause() == null ? error : error.getCause();
        System.out.println(step.getKey() + ": " + String.valueOf(cause).lines().findFirst().orElse(""));
        done.cancel(true);
      }
    }
  }

  /** Runs all steps. */
  public static void main(String[] arguments) throws Exception {
    ClientConfigProfile profile = ClientConfigProfile.load();
    WorkflowServiceStubs service =
        WorkflowServiceStubs.newConnectedServiceStubs(
            profile.toWorkflowServiceStubsOptions(), Duration.ofSeconds(10));
    WorkflowClient client = WorkflowClient.newInstance(service, profile.toWorkflowClientOptions());
    ScheduleClient schedules =
        ScheduleClient.newInstance(
            service,
            ScheduleClientOptions.newBuilder().setNamespace(client.getOptions().getNamespace()).build());
    System.out.println("connect: ok");
    WorkerFactory factory = WorkerFactory.newInstance(client);
    Worker worker = factory.newWorker(QUEUE);
    worker.registerWorkflowImplementationTypes(
        Workflows.WorkImpl.class,
        Workflows.BasketImpl.class,
        Workflows.ParentImpl.class,
        Workflows.CountdownImpl.class,
        Workflows.CancellableImpl.class);
    worker.registerActivitiesImplementations(new Activities.Real());
    factory.start();
    new Main(client, schedules).all();
    factory.shutdownNow();
    service.shutdownNow();
    System.exit(0);
  }
}
