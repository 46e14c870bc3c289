"""Types shared by planning, execution and tracking: jobs, callbacks, memory."""
