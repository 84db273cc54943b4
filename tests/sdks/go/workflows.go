package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Greet fails once, beats, and then greets.
func Greet(ctx context.Context, name string) (string, error) {
	if activity.GetInfo(ctx).Attempt == 1 {
		return "", errors.New("the first attempt fails")
	}
	activity.RecordHeartbeat(ctx, name)
	return "Hello, " + name, nil
}

// Wait beats until it is cancelled.
func Wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
			activity.RecordHeartbeat(ctx)
		}
	}
}

// Double is a local activity.
func Double(_ context.Context, n int) (int, error) {
	return 2 * n, nil
}

func withActivities(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 20 * time.Second,
		HeartbeatTimeout:    5 * time.Second,
		WaitForCancellation: true,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond},
	})
}

// Work uses an activity, a local activity, a side effect, a version and a timer.
func Work(ctx workflow.Context, name string) (string, error) {
	var greeting string
	if err := workflow.ExecuteActivity(withActivities(ctx), Greet, name).Get(ctx, &greeting); err != nil {
		return "", err
	}
	local := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: time.Second})
	var four int
	if err := workflow.ExecuteLocalActivity(local, Double, 2).Get(ctx, &four); err != nil {
		return "", err
	}
	var side int
	if err := workflow.SideEffect(ctx, func(workflow.Context) any { return 7 }).Get(&side); err != nil {
		return "", err
	}
	version := workflow.GetVersion(ctx, "change", workflow.DefaultVersion, 1)
	if err := workflow.Sleep(ctx, 50*time.Millisecond); err != nil {
		return "", err
	}
	if err := workflow.UpsertMemo(ctx, map[string]any{"note": greeting}); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d %d %d", greeting, four, side, version), nil
}

// Basket gathers what it is told until it is closed.
func Basket(ctx workflow.Context) ([]string, error) {
	var items []string
	closed := false
	if err := workflow.SetQueryHandler(ctx, "items", func() ([]string, error) { return items, nil }); err != nil {
		return nil, err
	}
	err := workflow.SetUpdateHandlerWithOptions(ctx, "add", func(ctx workflow.Context, item string) (int, error) {
		if err := workflow.Sleep(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
		items = append(items, item)
		return len(items), nil
	}, workflow.UpdateHandlerOptions{Validator: func(item string) error {
		if item == "" {
			return errors.New("an item has a name")
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	workflow.Go(ctx, func(ctx workflow.Context) {
		channel := workflow.GetSignalChannel(ctx, "put")
		for {
			var item string
			channel.Receive(ctx, &item)
			items = append(items, item)
		}
	})
	workflow.Go(ctx, func(ctx workflow.Context) {
		workflow.GetSignalChannel(ctx, "close").Receive(ctx, nil)
		closed = true
	})
	err = workflow.Await(ctx, func() bool { return closed })
	return items, err
}

// Parent runs a child, signals another, and asks for its end.
func Parent(ctx workflow.Context, name string) (string, error) {
	info := workflow.GetInfo(ctx).WorkflowExecution
	child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: info.ID + "-work"})
	var done string
	if err := workflow.ExecuteChildWorkflow(child, Work, name).Get(ctx, &done); err != nil {
		return "", err
	}
	basketCtx := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: info.ID + "-basket"})
	basket := workflow.ExecuteChildWorkflow(basketCtx, Basket)
	if err := basket.SignalChildWorkflow(ctx, "put", "apple").Get(ctx, nil); err != nil {
		return "", err
	}
	if err := workflow.SignalExternalWorkflow(ctx, info.ID+"-basket", "", "close", nil).Get(ctx, nil); err != nil {
		return "", err
	}
	var items []string
	if err := basket.Get(ctx, &items); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %v", done, items), nil
}

// Countdown continues as new until zero.
func Countdown(ctx workflow.Context, n int) (string, error) {
	if n > 0 {
		return "", workflow.NewContinueAsNewError(ctx, Countdown, n-1)
	}
	return "lift-off", nil
}

// Cancellable waits for its activity to notice that it was cancelled.
func Cancellable(ctx workflow.Context) error {
	err := workflow.ExecuteActivity(withActivities(ctx), Wait).Get(ctx, nil)
	if temporal.IsCanceledError(err) {
		clean, cancel := workflow.NewDisconnectedContext(ctx)
		defer cancel()
		if err := workflow.Sleep(clean, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return err
}
