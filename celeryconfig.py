"""Celery's settings that are the same everywhere, each with its reason.

Where Redis is and how long to wait for it depends on the process: see workers/links.py.
"""

from kombu import Queue

from workers import names

# JSON only: a pickle from Redis would run code in the worker.
task_serializer = "json"
result_serializer = "json"
accept_content = ["json"]
result_accept_content = ["json"]

task_queues = [Queue(name, routing_key=name) for name in names.QUEUES]
task_routes = {task: {"queue": queue} for task, queue in names.QUEUE_OF.items()}
task_default_queue = names.CONTROL_QUEUE
task_create_missing_queues = False  # a misspelt queue is an error, not a queue without consumer

# A job survives its worker: acknowledged when done, one message for each process, none hoarded.
task_acks_late = True
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
task_reject_on_worker_lost = True  # workers/request.py counts, so that poison does not go round for ever

task_track_started = False  # the task base class stores states itself, under the job's epoch
worker_deduplicate_successful_tasks = False  # stages share the job's id: it would drop redelivered stages in silence
worker_consumer = "workers.consumer:PausingConsumer"  # a Redis that refuses to write ends no worker
worker_cancel_long_running_tasks_on_connection_loss = False  # a blip of Redis must not end an hour of encoding
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # a worker waits for Redis as long as it takes
result_backend_always_retry = True  # an hour of outage at a job's end is ridden out
result_backend_max_retries = 720
result_backend_max_sleep_between_retries_ms = 5000
result_chord_join_timeout = 30

worker_send_task_events = True  # for Flower
task_send_sent_event = True
result_extended = True  # name and arguments beside the result: Flower and people see what a task was
worker_max_tasks_per_child = 200  # decoders leak a little; a fresh process now and then is cheap
worker_soft_shutdown_timeout = (
    0.0  # it would block the worker's loop: workers/leaving.py gives running tasks their time
)
worker_hijack_root_logger = False
worker_redirect_stdouts = False
