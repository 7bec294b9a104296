"""What every process must find when it starts: the right modules, tasks, schema and imports."""

import os
import platform
import secrets
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command

from pillars import checks
from pillars.celery import app

ROOT = settings.REPOSITORY
SCRIPTS = Path(sys.executable).parent
ASK = "import platform; print(platform.__file__, platform.python_version())"
STANDARD = f"{Path(sysconfig.get_path('stdlib')) / 'platform.py'} {platform.python_version()}"


def said(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("folder", [ROOT, ROOT / "platform", Path("/")], ids=str)
def test_platform_is_the_standard_librarys_module(folder: Path) -> None:
    assert said([sys.executable, "-c", ASK], folder).splitlines() == [STANDARD]


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ([sys.executable, "-c", f"import pillars.wsgi, pillars.celery; {ASK}"], ROOT),
        ([sys.executable, "-c", f"import pillars.wsgi, pillars.celery; {ASK}"], ROOT / "platform"),
        ([sys.executable, str(ROOT / "manage.py"), "shell", "--no-imports", "-c", ASK], Path("/")),
        ([sys.executable, "manage.py", "shell", "--no-imports", "-c", ASK], ROOT),
    ],
    ids=["servers", "servers inside platform", "manage.py elsewhere", "manage.py"],
)
def test_and_stays_so_in_every_entry_point(words: list[str], folder: Path) -> None:
    assert said(words, folder).splitlines()[-1] == STANDARD


def test_celerys_program_starts() -> None:
    """It asks `platform` for the machine: with another module of that name it would fail."""
    report = said([str(SCRIPTS / "celery"), "--app", "pillars", "report"], ROOT)
    assert f"py:{platform.python_version()}" in report
    assert platform.system() in report


def test_granians_program_starts() -> None:
    assert "granian" in said([str(SCRIPTS / "granian"), "--version"], ROOT)


def test_in_this_process() -> None:
    assert f"{platform.__file__} {platform.python_version()}" == STANDARD


class TestCelery:
    @pytest.fixture(autouse=True)
    def _tasks(self) -> None:
        app.loader.import_default_modules()

    def ours(self) -> list[str]:
        return [name for name in app.tasks if not name.startswith("celery.")]

    def test_every_scheduled_task_exists(self) -> None:
        for entry in app.conf.beat_schedule.values():
            assert entry["task"] in app.tasks

    def test_every_task_goes_to_a_queue_that_a_worker_reads(self, tmp_path: Path) -> None:
        from deploy.local.parts import services
        from deploy.local.state import Settings, StateDir

        stack = services(StateDir(tmp_path), Settings(1, "", "", ""))
        argv = next(part for part in stack if part.name == "worker").command.argv
        read = argv[argv.index("--queues") + 1].split(",")
        for name in self.ours():
            assert app.amqp.router.route({}, name)["queue"].name in read, name

    def test_every_dispatched_task_exists(self) -> None:
        found = set()
        for folder in ("platform", "mapping", "reporting", "taxonomy", "training"):
            for path in (ROOT / folder).rglob("*.py"):
                text = path.read_text(encoding="utf-8")
                found |= {
                    part.lstrip().split('"')[1]
                    for part in text.split("queue.dispatch(")[1:]
                    if part.lstrip().startswith('"')
                }
        assert len(found) >= 4
        assert found <= set(self.ours())

    def test_tasks_with_a_tenant_run_in_it(self) -> None:
        """A task that takes a tenant's id must switch to it, or be about the register itself."""
        import inspect

        from tenants.tasks import TenantTask

        for name in self.ours():
            task = app.tasks[name]
            takes_tenant = "tenant_id" in inspect.signature(task.run).parameters
            assert isinstance(task, TenantTask) == (takes_tenant and name != "tenants.provision")

    def test_a_retention_period_has_a_task(self) -> None:
        scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
        assert {"mapping.maintain", "reporting.expire", "idempotency.expire"} <= scheduled

    def test_messages_survive_a_worker(self) -> None:
        assert app.conf.task_acks_late
        assert app.conf.task_reject_on_worker_lost
        timeout = app.conf.broker_transport_options["visibility_timeout"]
        assert timeout > app.conf.task_time_limit > app.conf.task_soft_time_limit


@pytest.mark.django_db
class TestSchema:
    def test_migrations_say_what_the_models_say(self) -> None:
        call_command("makemigrations", check=True, dry_run=True, verbosity=1)

    def test_system_checks(self) -> None:
        call_command("check", fail_level="WARNING")

    def test_checks_before_deployment_name_only_what_https_changes(self) -> None:
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "check", "--deploy", "--fail-level=WARNING"],
            env={
                **os.environ,
                "PILLARS__SERVER__HTTPS": "true",
                "PILLARS_SECRET_KEY": secrets.token_urlsafe(48),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def test_a_weak_secret_is_refused(self, settings: Any) -> None:
        settings.SECRET_KEY = "short"
        (error,) = checks.secret_key_is_set()
        assert (error.id, "openssl rand -base64 48" in error.hint) == ("pillars.E001", True)

    def test_a_service_without_a_secret_is_refused(self, settings: Any) -> None:
        settings.SECRET_KEY_IS_SET = False
        assert checks.secret_key_is_set() == []  # a build may run without one
        (error,) = checks.secret_key_required()
        assert (error.id, "openssl rand -base64 48" in error.hint) == ("pillars.E002", True)

    def test_every_app_is_in_a_list_on_purpose(self) -> None:
        assert {config.name for config in apps.get_app_configs()} >= {
            "tenants", "access.keys", "access.users", "access.usage", "access.idempotency",
            "audit", "taxonomy", "mapping", "reporting",
        }  # fmt: skip
        unfold = settings.INSTALLED_APPS.index("unfold")
        assert unfold < settings.INSTALLED_APPS.index("django_tenants")


def test_imports_run_one_way() -> None:
    done = subprocess.run(
        [str(SCRIPTS / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout
