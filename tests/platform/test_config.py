"""The configuration: each refusal names place and remedy; secrets are never shown."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from pydantic import SecretStr

from pillars.config import ConfigError, LoadedConfig, PillarsConfig, load_config

SECRETS = {
    "DATABASE_URL": "postgresql://user:hunter2hunter2@db.example/pillars",
    "REDIS_URL": "redis://:broker-password@broker.example/0",
    "PILLARS_SECRET_KEY": "a-secret-of-more-than-thirty-two-characters",
    "PILLARS_METRICS_TOKEN": "metrics-token-metrics-token",
}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_file(text: str) -> Path:
        path = tmp_path / "pillars.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def refusal(path: Path | None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ or {})
    return str(caught.value)


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "line", "words"),
        [
            ("limits:\n  batch_itemz: 5\n", 2, ["limits.batch_itemz", "limits.batch_items"]),
            ("limitz:\n  batch_items: 5\n", 1, ["unknown key `limitz`", "limits"]),
            ("limits:\n  zzz: 5\n", 2, ["Known keys here", "batch_items"]),
            ("server:\n\n  port: many\n", 3, ["server.port", "valid integer", "TCP port"]),
            ("server:\n  port: '8800'\n", 2, ["server.port", "valid integer"]),
            ("server:\n  port: 70000\n", 2, ["server.port", "65535"]),
            ("server:\n  https: 1\n", 2, ["server.https", "boolean", "secure cookies"]),
            ("server:\n  platform_hosts: []\n", 2, ["server.platform_hosts", "at least 1"]),
            ("server:\n  platform_hosts: ['a b']\n", 2, ["server.platform_hosts", "pattern"]),
            ("mapping:\n  mode: magic\n", 2, ["mapping.mode", "rules_only"]),
            ("mapping:\n  confidence_threshold: 1.5\n", 2, ["less than or equal to 1"]),
            ("limits: 5\n", 1, ["`limits` is a section", "batch_items"]),
            ("limits:\n", 1, ["`limits` is a section", "or remove it"]),
            ("server:\n  port: 1\n  port: 2\n", 3, ["set twice", "line 2", "Remove one"]),
            ("server:\n  port: [1\n", 3, ["Check indentation and quotes"]),
            ("just a text\n", 1, ["expected sections such as `limits:`"]),
            ("- a\n- b\n", 1, ["expected sections"]),
        ],
    )  # fmt: skip
    def test_names_file_line_and_remedy(
        self, write: Any, text: str, line: int, words: list[str]
    ) -> None:
        path = write(text)
        message = refusal(path)
        assert message.startswith(f"{path}:{line}:")
        for word in words:
            assert word in message

    def test_every_fault_has_a_line_of_its_own(self, write: Any) -> None:
        path = write("server:\n  port: x\nlimits:\n  nesting_depth: y\n  oops: 1\n")
        lines = refusal(path).splitlines()
        assert [line.split(":")[1] for line in lines] == ["2", "4", "5"]

    def test_a_rule_over_two_values(self, write: Any) -> None:
        path = write("limits:\n  item_bytes: 65536\n  request_bytes: 2048\n")
        message = refusal(path)
        assert str(path) in message
        assert "raise request_bytes or lower item_bytes" in message

    def test_a_missing_file(self, tmp_path: Path) -> None:
        message = refusal(tmp_path / "gone.yaml")
        assert "there is no such file" in message
        assert "PILLARS_CONFIG" in message

    def test_a_file_that_is_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "pillars.yaml"
        path.write_bytes(b"\xff\xfe\x00")
        assert str(path) in refusal(path)
        assert str(tmp_path) in refusal(tmp_path)

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("PILLARS_PORT", "many", ["environment PILLARS_PORT", "server.port", "integer"]),
            ("PILLARS__LIMITS__BATCH_ITEMZ", "5", ["unknown key", "limits.batch_items"]),
            ("PILLARS__LIMITS__BATCH_ITEMS", "0", ["environment PILLARS__LIMITS__BATCH_ITEMS"]),
            ("PILLARS__LIMITS__BATCH_ITEMS__X", "1", ["PILLARS__LIMITS__BATCH_ITEMS__X"]),
            ("PILLARS__NONE", "1", ["environment PILLARS__NONE", "unknown key `none`"]),
            ("DATABASE_URL", "here", ["environment DATABASE_URL", "postgresql://user"]),
            ("DATABASE_URL", "mysql://u@h/d", ["environment DATABASE_URL", "postgresql://user"]),
            ("DATABASE_URL", "postgres://u@h:x/d", ["environment DATABASE_URL"]),
            ("REDIS_URL", "memcache://h", ["environment REDIS_URL", "redis://host"]),
        ],
    )
    def test_names_the_variable(self, name: str, value: str, words: list[str]) -> None:
        message = refusal(None, {name: value})
        for word in words:
            assert word in message

    def test_a_section_that_the_file_made_a_value(self, write: Any) -> None:
        message = refusal(write("limits: 5\n"), {"PILLARS__LIMITS__BATCH_ITEMS": "5"})
        assert "environment PILLARS__LIMITS__BATCH_ITEMS: `limits` is a value" in message

    @pytest.mark.parametrize("name", sorted(SECRETS))
    def test_a_refused_secret_is_not_repeated(self, write: Any, name: str) -> None:
        message = refusal(write("server:\n  port: x\n"), SECRETS)
        assert SECRETS[name] not in message

    def test_a_program_says_one_line_and_no_traceback(self, write: Any) -> None:
        path = write("server:\n  prot: 1\n")
        done = subprocess.run(
            [sys.executable, "-c", "import django; django.setup()"],
            env={**os.environ, "PILLARS_CONFIG": str(path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "Configuration refused.",
            f"{path}:2: unknown key `server.prot`. Did you mean `server.port`?",
        ]


class TestOrigins:
    def rows(self, loaded: LoadedConfig) -> dict[str, tuple[str, str]]:
        return {path: (value, origin) for path, value, origin in loaded.rows()}

    def test_environment_over_file_over_default(self, write: Any) -> None:
        path = write("# note\nserver:\n  port: 9000\nlimits:\n  batch_items: 7\n")
        loaded = load_config(path, {"PILLARS_PORT": "9001", "PILLARS__MAPPING__MODE": "rules_only"})
        rows = self.rows(loaded)
        assert rows["server.port"] == ("9001", "environment PILLARS_PORT")
        assert rows["limits.batch_items"] == ("7", f"{path}:5")
        assert rows["limits.nesting_depth"] == ("32", "default")
        assert rows["mapping.mode"][1] == "environment PILLARS__MAPPING__MODE"
        assert loaded.values.server.port == 9001

    def test_every_value_is_listed_once(self) -> None:
        rows = [path for path, _, _ in load_config(None, {}).rows()]
        sections = PillarsConfig.model_fields
        expected = [
            f"{name}.{key}"
            for name, section in sections.items()
            for key in section.annotation.model_fields  # type: ignore[union-attr]
        ]
        assert rows == expected

    def test_an_empty_variable_says_nothing(self) -> None:
        assert load_config(None, {"PILLARS_PORT": ""}).values.server.port == 8800

    def test_an_empty_file_means_the_defaults(self, write: Any) -> None:
        assert load_config(write(""), {}).values == PillarsConfig()

    def test_text_of_a_variable_is_read_as_the_field_wants(self) -> None:
        values = load_config(
            None,
            {
                "PILLARS__SERVER__TENANT_DOMAIN": "1234",
                "PILLARS__SERVER__PLATFORM_HOSTS": "[a.example, b.example]",
                "PILLARS__SERVER__HTTPS": "true",
                "PILLARS_METRICS_TOKEN": "12345",
            },
        ).values
        assert values.server.tenant_domain == "1234"
        assert values.server.platform_hosts == ["a.example", "b.example"]
        assert values.server.https is True
        assert values.server.metrics_token == SecretStr("12345")

    def test_nothing_can_be_changed_later(self) -> None:
        values = load_config(None, {}).values
        with pytest.raises(ValueError, match="frozen"):
            values.server.port = 1


class TestShippedFile:
    def test_says_the_defaults_and_nothing_else(self) -> None:
        shipped = load_config(settings.REPOSITORY / "pillars.yaml", {})
        assert shipped.values == PillarsConfig()

    def test_explains_every_key_with_the_words_of_the_schema(self) -> None:
        text = (settings.REPOSITORY / "pillars.yaml").read_text(encoding="utf-8")
        for name, section in PillarsConfig.model_fields.items():
            if name == "services":  # secrets belong in the environment
                continue
            assert f"\n{name}:" in text
            for key, field in section.annotation.model_fields.items():  # type: ignore[union-attr]
                assert f"  # {field.description}.\n" in text, f"{name}.{key}"
                assert f"  {key}:" in text or f"  # {key}:" in text


class TestShowConfig:
    def run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, str(settings.REPOSITORY / "manage.py"), "show_config", *words],
            env={**os.environ, **SECRETS},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        for secret in SECRETS.values():
            assert secret not in done.stdout + done.stderr
        return done.stdout

    def test_masks_secrets_and_names_origins(self) -> None:
        rows = {line.split()[0]: line for line in self.run().splitlines()}
        for name, path in (
            ("DATABASE_URL", "services.database_url"),
            ("REDIS_URL", "services.redis_url"),
            ("PILLARS_SECRET_KEY", "services.secret_key"),
            ("PILLARS_METRICS_TOKEN", "server.metrics_token"),
        ):
            assert rows[path].split()[1:] == ["**********", "environment", name]
        assert rows["limits.batch_items"].split()[1] == "1000"
        line = (settings.REPOSITORY / "pillars.yaml").read_text().splitlines()
        number = next(i for i, text in enumerate(line, 1) if text.startswith("  batch_items:"))
        assert rows["limits.batch_items"].endswith(f"pillars.yaml:{number}")

    def test_json(self) -> None:
        document = json.loads(self.run("--json"))
        assert document["services.secret_key"]["value"] == "**********"
        assert document["limits.batch_items"]["value"] == "1000"
        assert set(document) == {path for path, _, _ in load_config(None, {}).rows()}
