"""Every exception that the engine raises on purpose.

EngineError
├── ModelError        not a model that can be read: what, at which offset or tensor, what was expected
├── UnsupportedError  a valid model that this engine (or this backend) cannot run: operator, index, what to do
├── ExportError       a model that cannot be written: tensor or operator, what was got, what is expected
├── VerifyError       a pass left a graph that is not legal: a defect of this engine, which node and why
└── RunError          a run that could not be carried out: wrong input, index out of range, no memory
"""


class EngineError(Exception):
    """Root of the engine's errors; the message is one sentence for a person."""


class ModelError(EngineError):
    pass


class UnsupportedError(EngineError):
    pass


class ExportError(EngineError):
    pass


class VerifyError(EngineError):
    pass


class RunError(EngineError):
    pass
