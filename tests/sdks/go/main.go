// Uses a Temporal service through the Go SDK: connects by the environment's configuration, runs a worker, and prints
// a line for each step: its name and "ok", or what went wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const stepTimeout = 60 * time.Second

type session struct {
	client    client.Client
	namespace string
	queue     string
	prefix    string
}

func (s *session) options(id string) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{ID: s.prefix + id, TaskQueue: s.queue}
}

func expect(got, wanted any) error {
	if !reflect.DeepEqual(got, wanted) {
		return fmt.Errorf("got %v, expected %v", got, wanted)
	}
	return nil
}

func activities(ctx context.Context, s *session) error {
	run, err := s.client.ExecuteWorkflow(ctx, s.options("work"), Work, "Ada")
	if err != nil {
		return err
	}
	var result string
	if err := run.Get(ctx, &result); err != nil {
		return err
	}
	return expect(result, "Hello, Ada 4 7 1")
}

func signalsAndQueries(ctx context.Context, s *session) error {
	run, err := s.client.SignalWithStartWorkflow(ctx, s.prefix+"basket", "put", "pear", s.options("basket"), Basket)
	if err != nil {
		return err
	}
	if err := s.client.SignalWorkflow(ctx, run.GetID(), "", "put", "plum"); err != nil {
		return err
	}
	value, err := s.client.QueryWorkflow(ctx, run.GetID(), run.GetRunID(), "items")
	if err != nil {
		return err
	}
	var items []string
	if err := value.Get(&items); err != nil {
		return err
	}
	if err := expect(items, []string{"pear", "plum"}); err != nil {
		return err
	}
	_, err = s.client.QueryWorkflow(ctx, run.GetID(), "", "none")
	var failed *serviceerror.QueryFailed
	if !errors.As(err, &failed) {
		return fmt.Errorf("an unknown query gave %v", err)
	}
	if err := s.client.SignalWorkflow(ctx, run.GetID(), "", "close", nil); err != nil {
		return err
	}
	return run.Get(ctx, nil)
}

func updates(ctx context.Context, s *session) error {
	run, err := s.client.ExecuteWorkflow(ctx, s.options("updated"), Basket)
	if err != nil {
		return err
	}
	update := func(item string, stage client.WorkflowUpdateStage) (client.WorkflowUpdateHandle, error) {
		return s.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
			WorkflowID: run.GetID(), UpdateName: "add", Args: []any{item}, WaitForStage: stage,
		})
	}
	handle, err := update("apple", client.WorkflowUpdateStageCompleted)
	if err != nil {
		return err
	}
	var count int
	if err := handle.Get(ctx, &count); err != nil {
		return err
	}
	if handle, err = update("pear", client.WorkflowUpdateStageAccepted); err != nil {
		return err
	}
	again := s.client.GetWorkflowUpdateHandle(client.GetWorkflowUpdateHandleOptions{
		WorkflowID: run.GetID(), UpdateID: handle.UpdateID(),
	})
	if err := again.Get(ctx, &count); err != nil {
		return err
	}
	if err := expect(count, 2); err != nil {
		return err
	}
	if handle, err = update("", client.WorkflowUpdateStageCompleted); err == nil {
		err = handle.Get(ctx, nil)
	}
	var refused *temporal.ApplicationError
	if !errors.As(err, &refused) {
		return fmt.Errorf("a refused update gave %v", err)
	}
	options := s.options("updated")
	options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	handle, err = s.client.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: s.client.NewWithStartWorkflowOperation(options, Basket),
		UpdateOptions: client.UpdateWorkflowOptions{
			UpdateName: "add", Args: []any{"fig"}, WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	if err != nil {
		return err
	}
	if err := handle.Get(ctx, &count); err != nil {
		return err
	}
	return expect(count, 3)
}

func children(ctx context.Context, s *session) error {
	run, err := s.client.ExecuteWorkflow(ctx, s.options("parent"), Parent, "Bob")
	if err != nil {
		return err
	}
	var result string
	if err := run.Get(ctx, &result); err != nil {
		return err
	}
	return expect(result, "Hello, Bob 4 7 1 [apple]")
}

func continueAsNew(ctx context.Context, s *session) error {
	run, err := s.client.ExecuteWorkflow(ctx, s.options("countdown"), Countdown, 3)
	if err != nil {
		return err
	}
	var result string
	if err := run.Get(ctx, &result); err != nil {
		return err
	}
	return expect(result, "lift-off")
}

func cancelAndTerminate(ctx context.Context, s *session) error {
	run, err := s.client.ExecuteWorkflow(ctx, s.options("cancelled"), Cancellable)
	if err != nil {
		return err
	}
	for {
		described, err := s.client.DescribeWorkflowExecution(ctx, run.GetID(), "")
		if err != nil {
			return err
		}
		pending := described.GetPendingActivities()
		if len(pending) == 1 && pending[0].GetState() == enumspb.PENDING_ACTIVITY_STATE_STARTED {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := s.client.CancelWorkflow(ctx, run.GetID(), run.GetRunID()); err != nil {
		return err
	}
	if err := run.Get(ctx, nil); !temporal.IsCanceledError(err) {
		return fmt.Errorf("a cancelled workflow gave %v", err)
	}
	if run, err = s.client.ExecuteWorkflow(ctx, s.options("terminated"), Basket); err != nil {
		return err
	}
	if err := s.client.TerminateWorkflow(ctx, run.GetID(), "", "enough"); err != nil {
		return err
	}
	var terminated *temporal.TerminatedError
	if err := run.Get(ctx, nil); !errors.As(err, &terminated) {
		return fmt.Errorf("a terminated workflow gave %v", err)
	}
	return nil
}

func schedules(ctx context.Context, s *session) error {
	schedule, err := s.client.ScheduleClient().Create(ctx, client.ScheduleOptions{
		ID:     s.prefix + "schedule",
		Spec:   client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: 24 * time.Hour}}},
		Action: &client.ScheduleWorkflowAction{ID: s.prefix + "scheduled", Workflow: Countdown, Args: []any{0}, TaskQueue: s.queue},
		Memo:   map[string]any{"note": "daily"},
	})
	if err != nil {
		return err
	}
	if err := schedule.Trigger(ctx, client.ScheduleTriggerOptions{}); err != nil {
		return err
	}
	if err := schedule.Pause(ctx, client.SchedulePauseOptions{Note: "later"}); err != nil {
		return err
	}
	err = schedule.Update(ctx, client.ScheduleUpdateOptions{
		DoUpdate: func(input client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			input.Description.Schedule.Spec.Intervals[0].Every = time.Hour
			return &client.ScheduleUpdate{Schedule: &input.Description.Schedule}, nil
		},
	})
	if err != nil {
		return err
	}
	for {
		described, err := schedule.Describe(ctx)
		if err != nil {
			return err
		}
		if len(described.Info.RecentActions) == 1 {
			if err := expect([]any{described.Schedule.State.Paused, described.Schedule.Spec.Intervals[0].Every},
				[]any{true, time.Hour}); err != nil {
				return err
			}
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	listed, err := s.client.ScheduleClient().List(ctx, client.ScheduleListOptions{PageSize: 10})
	if err != nil {
		return err
	}
	found := false
	for listed.HasNext() {
		entry, err := listed.Next()
		if err != nil {
			return err
		}
		found = found || entry.ID == schedule.GetID()
	}
	if !found {
		return errors.New("the schedule is not in the list")
	}
	return schedule.Delete(ctx)
}

func visibility(ctx context.Context, s *session) error {
	query := fmt.Sprintf("TaskQueue = '%s' AND ExecutionStatus = 'Completed'", s.queue)
	for {
		counted, err := s.client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: query})
		if err != nil {
			return err
		}
		listed, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: query})
		if err != nil {
			return err
		}
		if n := int(counted.GetCount()); n >= 5 && len(listed.GetExecutions()) == n {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	events := s.client.GetWorkflowHistory(ctx, s.prefix+"work", "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	count := 0
	for events.HasNext() {
		if _, err := events.Next(); err != nil {
			return err
		}
		count++
	}
	if count < 10 {
		return fmt.Errorf("a history of %d events", count)
	}
	if _, err := s.client.DescribeTaskQueue(ctx, s.queue, enumspb.TASK_QUEUE_TYPE_WORKFLOW); err != nil {
		return err
	}
	_, err := s.client.CheckHealth(ctx, &client.CheckHealthRequest{})
	return err
}

func replay(ctx context.Context, s *session) error {
	replayer := worker.NewWorkflowReplayer()
	replayer.RegisterWorkflow(Work)
	execution := workflow.Execution{ID: s.prefix + "work"}
	return replayer.ReplayWorkflowExecution(ctx, s.client.WorkflowService(), quiet{}, s.namespace, execution)
}

type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(message string, rest ...any) {
	fmt.Fprintln(os.Stderr, append([]any{message}, rest...)...)
}

var _ log.Logger = quiet{}

func main() {
	if len(os.Args) > 1 {
		if err := crossing(os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	options := envconfig.MustLoadDefaultClientOptions()
	options.Logger = quiet{}
	connected, err := client.Dial(options)
	if err != nil {
		fmt.Println("connect:", err)
		os.Exit(1)
	}
	defer connected.Close()
	fmt.Println("connect: ok")
	prefix := fmt.Sprintf("go-%d-", time.Now().UnixNano())
	s := &session{client: connected, namespace: options.Namespace, queue: prefix + "queue", prefix: prefix}
	w := worker.New(connected, s.queue, worker.Options{})
	for _, each := range []any{Work, Basket, Parent, Countdown, Cancellable} {
		w.RegisterWorkflow(each)
	}
	for _, each := range []any{Greet, Wait, Double} {
		w.RegisterActivity(each)
	}
	if err := w.Start(); err != nil {
		fmt.Println("worker:", err)
		os.Exit(1)
	}
	defer w.Stop()
	steps := []struct {
		name string
		run  func(context.Context, *session) error
	}{
		{"activities and timers", activities},
		{"signals and queries", signalsAndQueries},
		{"updates", updates},
		{"children", children},
		{"continue as new", continueAsNew},
		{"cancel and terminate", cancelAndTerminate},
		{"schedules", schedules},
		{"visibility", visibility},
		{"replay", replay},
	}
	for _, step := range steps {
		ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
		if err := step.run(ctx, s); err != nil {
			fmt.Printf("%s: %v\n", step.name, err)
		} else {
			fmt.Printf("%s: ok\n", step.name)
		}
		cancel()
	}
}
