import dataclasses

import pytest
from pydantic import TypeAdapter, ValidationError

from contract import finetune
from contract.finetune import FinetuneJob, FinetuneResult
from models.finetune.errors import BadInputError, DiskFullError, DivergedError, OverCapError
from tests.contract.payloads import parse, recorded


def test_a_result_with_a_status_that_nobody_knows_is_refused():
    with pytest.raises(ValidationError, match="status"):
        parse("finetune-result-done", recorded("finetune-result-done") | {"status": "fine"})


def test_the_job_on_disk_is_exactly_the_dataclass():
    job = parse("finetune-job-rival", recorded("finetune-job-rival"))

    assert dataclasses.asdict(job) == recorded("finetune-job-rival")
    assert TypeAdapter(FinetuneJob).validate_python(dataclasses.asdict(job)) == job


def test_every_exit_code_says_something_else():
    codes = {k: v for k, v in vars(finetune).items() if k.startswith("EXIT_")}

    assert len(set(codes.values())) == len(codes)
    assert finetune.EXIT_DONE == 0


def test_every_bad_end_has_a_status_of_the_contract():
    known = TypeAdapter(FinetuneResult)
    for error in (BadInputError, OverCapError, DivergedError, DiskFullError):
        fields = {"job_id": "j", "status": error.status, "reason": "r"}
        assert known.validate_python(fields).status == error.status
