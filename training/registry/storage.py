"""Where versions are kept: a folder, or a bucket of S3 or of anything that speaks it.

Nothing is ever overwritten, and what comes back has been checked against its manifest.
"""

import base64
import hashlib
import re
import shutil
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, cast

from training.registry.adapter import sha256_of
from training.registry.errors import ExistsError, RegistryError
from training.registry.files import new_folder, refuse_existing
from training.registry.names import ModelName
from training.registry.package import MANIFEST, ModelPackage, read, versions_in

_ADDRESS: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([!-~]*?))?/?", re.ASCII)
# Within the classes below `list` is a method.
_Words: TypeAlias = list[str]
_MOST_BYTES: Final = 5 << 30  # of one file, in one request


class ModelStore(Protocol):
    """Keeps versions."""

    def put(self, package: ModelPackage) -> None:
        """Keep a version. Raises ExistsError if it is there, RegistryError if it cannot be kept."""
        ...

    def get(self, name: ModelName, models: Path) -> ModelPackage:
        """Bring a version into `models`. Raises RegistryError; then nothing is left there."""
        ...

    def exists(self, name: ModelName) -> bool:
        """Whether the whole version is there."""
        ...

    def list(self) -> list[ModelName]:
        """Every whole version, in order."""
        ...


class DiskStore:
    """A folder with a folder for each version."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, package: ModelPackage) -> None:
        """See ModelStore."""
        _copy(package.folder, self.root / package.name.served)

    def get(self, name: ModelName, models: Path) -> ModelPackage:
        """See ModelStore."""
        read(self.root / name.served)
        _copy(self.root / name.served, models / name.served)
        return read(models / name.served)

    def exists(self, name: ModelName) -> bool:
        """See ModelStore."""
        return (self.root / name.served / MANIFEST).is_file()

    def list(self) -> list[ModelName]:
        """See ModelStore."""
        return versions_in(self.root)


class S3Store:
    """A prefix in a bucket. A version's manifest is written last: without it there is none.

    `client`: of boto3. Every object is written on the condition that there is none
    (If-None-Match: *), so of two writers one wins, and an interrupted one may be repeated.
    """

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def put(self, package: ModelPackage) -> None:
        """See ModelStore."""
        if self.exists(package.name):
            raise _is_there(package.name)
        files: dict[str, Any] = package.manifest["files"]
        for file in sorted(files):
            if (
                not self._write(package, file)
                and self._digest(package.name, file) != (files[file]["sha256"])
            ):
                raise RegistryError(
                    f"The bucket holds another {file} of {package.name}, from a writing that was "
                    "interrupted. Give the next version."
                )
        if not self._write(package, MANIFEST):
            raise _is_there(package.name)

    def get(self, name: ModelName, models: Path) -> ModelPackage:
        """See ModelStore."""
        refuse_existing(models / name.served)
        if not self.exists(name):
            raise RegistryError(f"The bucket holds no {name}.")
        with new_folder(models / name.served) as scratch:
            for file in self._files(name):
                # The last part alone: a key can never lead out of the folder.
                with (scratch / Path(file).name).open("wb") as target:
                    self._call("download_fileobj", Key=self._key(name, file), Fileobj=target)
            checked = scratch / name.served
            # Read under its own name before it counts: a package is checked against that.
            checked.mkdir()
            for path in [path for path in scratch.iterdir() if path.is_file()]:
                path.rename(checked / path.name)
            read(checked)
            for path in checked.iterdir():
                path.rename(scratch / path.name)
            checked.rmdir()
        return read(models / name.served)

    def exists(self, name: ModelName) -> bool:
        """See ModelStore."""
        return self._digest(name, MANIFEST) is not None

    def list(self) -> list[ModelName]:
        """See ModelStore."""
        found = []
        for key in self._keys(self._prefix):
            folder, _, file = key.removeprefix(self._prefix).rpartition("/")
            if file != MANIFEST:
                continue
            try:
                found.append(ModelName.parse(folder))
            except RegistryError:
                continue
        return sorted(found)

    def _key(self, name: ModelName, file: str) -> str:
        return f"{self._prefix}{name.served}/{file}"

    def _files(self, name: ModelName) -> _Words:
        start = self._key(name, "")
        return [key.removeprefix(start) for key in self._keys(start)]

    def _keys(self, prefix: str) -> _Words:
        found: _Words = []
        more: dict[str, Any] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=prefix, **more)
            found += [str(entry["Key"]) for entry in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _write(self, package: ModelPackage, file: str) -> bool:
        """Whether it was written; False if there is one already."""
        path = package.folder / file
        if path.stat().st_size > _MOST_BYTES:
            raise RegistryError(f"{file} has more than {_MOST_BYTES >> 30} GB.")
        digest = sha256_of(path)
        with path.open("rb") as body:
            done = self._call(
                "put_object",
                Key=self._key(package.name, file),
                Body=body,
                IfNoneMatch="*",
                ChecksumSHA256=base64.b64encode(bytes.fromhex(digest)).decode(),
                refused={"PreconditionFailed", "412", "ConditionalRequestConflict"},
            )
        return done is not None

    def _digest(self, name: ModelName, file: str) -> str | None:
        """SHA-256 of what is there, as its bytes say; None if there is none."""
        found = self._call("get_object", Key=self._key(name, file), refused={"NoSuchKey", "404"})
        if found is None:
            return None
        digest = hashlib.sha256()
        for chunk in found["Body"].iter_chunks(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()

    def _call(self, verb: str, *, refused: set[str] | None = None, **options: Any) -> Any:
        """One request. None for an answer that is among `refused`; RegistryError for any other."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, verb)(Bucket=self._bucket, **options) or {}
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if refused and code in refused:
                return None
            raise RegistryError(
                f"The bucket {self._bucket} refused {verb} ({code or 'no code'}). Check the "
                "address in training.store, and the rights of the key."
            ) from None
        except BotoCoreError as error:
            raise RegistryError(
                f"The bucket {self._bucket} does not answer ({type(error).__name__}). Check the "
                "address in training.store, AWS_ENDPOINT_URL_S3 and the key."
            ) from None


def store_at(address: str) -> ModelStore | None:
    """The store that `training.store` names: s3://BUCKET/PREFIX, or a folder; None if it is empty.

    Keys, region and endpoint come from where boto3 looks: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3
    and the others. Raises RegistryError.
    """
    if not address:
        return None
    if "://" not in address:
        return DiskStore(Path(address))
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise RegistryError(f"training.store: {address[:80]} is no s3://BUCKET/PREFIX.")
    try:
        import boto3
        from botocore.config import Config
    except ModuleNotFoundError:
        raise RegistryError(
            "training.store names a bucket, and boto3 is not installed: pip install 'pillars[s3]'."
        ) from None
    config = Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 3})
    client = boto3.client("s3", config=config)
    return cast(ModelStore, S3Store(client, found[1], found[2] or ""))


def _copy(source: Path, target: Path) -> None:
    with new_folder(target) as scratch:
        for path in sorted(source.iterdir()):
            shutil.copyfile(path, scratch / path.name)


def _is_there(name: ModelName) -> ExistsError:
    return ExistsError(f"The bucket holds {name} already, and versions never change.")
