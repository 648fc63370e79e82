"""Task specs: what they may say (`model`), and loading one with every mistake pointed at (`load`,
`check`)."""

from edge_agent.spec.files import OpenModel, Report, check, check_files
from edge_agent.spec.load import load
from edge_agent.spec.model import Spec
from edge_agent.spec.problems import CODES, Problem, SpecError, render
from edge_agent.spec.schema import json_schema
from edge_agent.spec.secrets import SecretError, reveal

__all__ = [
    "CODES",
    "OpenModel",
    "Problem",
    "Report",
    "SecretError",
    "Spec",
    "SpecError",
    "check",
    "check_files",
    "json_schema",
    "load",
    "render",
    "reveal",
]
