"""Recipes for schedulers of others agree with the exit codes and settings of the package."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
import yaml
from support import REPOSITORY

from batch_scoring.errors import ExitCode
from batch_scoring.settings import SECRETS, SETTINGS

RECIPES = REPOSITORY / "docs" / "integrations"
CODES = {
    "FAILED": ExitCode.RUN_FAILED,
    "QUARANTINED": ExitCode.TOO_MANY_QUARANTINED,
    "HELD": ExitCode.HELD,
    "ANOTHER_RUN": ExitCode.ANOTHER_RUN_ACTIVE,
}


@pytest.mark.parametrize("recipe", ["airflow_dag.py", "prefect_flow.py"])
def test_the_exit_codes_of_a_recipe_are_those_of_the_package(recipe: str) -> None:
    tree = ast.parse((RECIPES / recipe).read_text(encoding="utf-8"))
    found: dict[str, int] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            names = [name.id for name in node.targets[0].elts if isinstance(name, ast.Name)]
            found |= dict(zip(names, ast.literal_eval(node.value), strict=True))

    assert found == CODES
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert set(CODES) <= used


@pytest.fixture(scope="module")
def cron_job() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((RECIPES / "cronjob.yaml").read_text(encoding="utf-8"))
    return found


def test_the_cron_job_of_kubernetes_treats_each_exit_code_once(cron_job: dict[str, Any]) -> None:
    job = cron_job["spec"]["jobTemplate"]["spec"]
    rules = [rule for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    (container,) = job["template"]["spec"]["containers"]

    assert {rule["onExitCodes"]["containerName"] for rule in rules} == {container["name"]}
    treated = {code: rule["action"] for rule in rules for code in rule["onExitCodes"]["values"]}
    assert treated == {
        ExitCode.ANOTHER_RUN_ACTIVE: "Ignore",
        ExitCode.WRONG_USAGE: "FailJob",
        ExitCode.MODEL_REFUSED: "FailJob",
        ExitCode.TOO_MANY_QUARANTINED: "FailJob",
        ExitCode.HELD: "FailJob",
    }
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # a policy requires it


def test_the_cron_job_names_settings_that_exist_and_the_user_of_the_image(cron_job: dict[str, Any]) -> None:
    pod = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert {one["name"] for one in container["env"]} <= SETTINGS | {f"{name}_FILE" for name in SECRETS}
    dockerfile = (REPOSITORY / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    (user,) = re.findall(r"--uid (\d+)", dockerfile)
    assert pod["securityContext"]["runAsUser"] == int(user)
    mounts = {one["name"] for one in container["volumeMounts"]}
    assert mounts == {one["name"] for one in pod["volumes"]}


def test_the_table_of_exit_codes_is_complete() -> None:
    text = (RECIPES / "README.md").read_text(encoding="utf-8")
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)}

    assert listed == set(ExitCode) - {ExitCode.UNHEALTHY}  # which `run` never ends with
