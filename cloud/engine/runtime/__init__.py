"""What carries the core's transitions out: commit loop, task queues, wake-ups, long polls, lease. Owns time and memory."""
