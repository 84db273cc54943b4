"""What can become due in a run. Each kind is served by the subject that owns it; ``machine.DUE`` pairs them."""

RUN_TIMEOUT = 1
EXECUTION_TIMEOUT = 2
FIRST_WORKFLOW_TASK = 3  # a delayed start, a cron run, a retry: the first workflow task waits until then
WORKFLOW_TASK_SCHEDULE_TO_START = 4
WORKFLOW_TASK_START_TO_CLOSE = 5
TIMER = 6
ACTIVITY_DISPATCH = 7  # the next attempt's backoff is over
ACTIVITY_SCHEDULE_TO_START = 8
ACTIVITY_SCHEDULE_TO_CLOSE = 9
ACTIVITY_START_TO_CLOSE = 10
ACTIVITY_HEARTBEAT = 11
NEXUS_DISPATCH = 12  # the pause before the next call to start an operation is over
NEXUS_CANCEL_DISPATCH = 13
NEXUS_SCHEDULE_TO_START = 14
NEXUS_SCHEDULE_TO_CLOSE = 15
NEXUS_START_TO_CLOSE = 16
FAST_FORWARD = 17
CALLBACK_DISPATCH = 18  # the pause before the next call of an update's callback is over
