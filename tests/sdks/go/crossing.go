package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// Read is the workflow that every language serves: it tells who has read what.
func Read(ctx workflow.Context, text string) (string, error) {
	if strings.HasPrefix(text, "fail") {
		return "", temporal.NewApplicationError("go has read "+text, "Refused")
	}
	return "go has read " + text, nil
}

// crossing serves a queue, or asks a worker of another language: `serve QUEUE`, `ask QUEUE ID TEXT`.
func crossing(arguments []string) error {
	options := envconfig.MustLoadDefaultClientOptions()
	options.Logger = quiet{}
	if ring := os.Getenv("KEY_RING"); ring != "" {
		codec, err := newRingCodec(ring, os.Getenv("WRITE_FORMAT") == "samples")
		if err != nil {
			return err
		}
		options.DataConverter = converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), codec)
		options.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
			DataConverter: options.DataConverter, EncodeCommonAttributes: true,
		})
	}
	connected, err := client.Dial(options)
	if err != nil {
		return err
	}
	defer connected.Close()
	if arguments[0] == "serve" {
		w := worker.New(connected, arguments[1], worker.Options{})
		w.RegisterWorkflow(Read)
		fmt.Println("ready")
		return w.Run(worker.InterruptCh())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	started := client.StartWorkflowOptions{ID: arguments[2], TaskQueue: arguments[1]}
	run, err := connected.ExecuteWorkflow(ctx, started, "Read", arguments[3])
	if err != nil {
		return err
	}
	var told string
	if err := run.Get(ctx, &told); err != nil {
		told = err.Error()
	}
	fmt.Println("told:", told)
	return nil
}
