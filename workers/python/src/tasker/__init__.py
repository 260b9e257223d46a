"""Python worker for tasker_ext, the DAG workflow engine inside PostgreSQL.

The database decides what runs when; this package claims steps, runs their handlers and reports.
"""

from .api_handler import ApiResponse, ApiStepHandler
from .client import Client, TaskExecutionContext
from .errors import (
    ConfigurationError,
    HandlerNotFound,
    JsonEncodeError,
    NotAnAncestor,
    PermanentError,
    RetryableError,
    TaskerError,
)
from .handler import StepHandler, TaskHandler
from .models import Sequence, Step, StepStatus, Task
from .registry import HandlerRegistry, default_registry, step_handler, task_handler
from .results import StepHandlerCallResult
from .run_log import RunContext
from .runner import Runner, run_worker
from .settings import WorkerSettings

__all__ = [
    "ApiResponse",
    "ApiStepHandler",
    "Client",
    "ConfigurationError",
    "HandlerNotFound",
    "HandlerRegistry",
    "JsonEncodeError",
    "NotAnAncestor",
    "PermanentError",
    "RetryableError",
    "RunContext",
    "Runner",
    "Sequence",
    "Step",
    "StepHandler",
    "StepHandlerCallResult",
    "StepStatus",
    "Task",
    "TaskExecutionContext",
    "TaskHandler",
    "TaskerError",
    "WorkerSettings",
    "default_registry",
    "run_worker",
    "step_handler",
    "task_handler",
]

__version__ = "0.1.0"
