import gzip
import io
import json
import lzma
import tarfile

import pytest

from app.errors import SetupError
from evaluation.efficiency.archives import check_tags

MANIFEST, INDEX = "manifest.json", "index.json"


def images(*tags):
    return [{"Config": "c.json", "RepoTags": list(tags), "Layers": []}]


def index(*names):
    return {"manifests": [{"annotations": {"io.containerd.image.name": name}} for name in names]}


def saved(folder, *members, mode="w:gz"):
    path = folder / "team.tar.gz"
    with tarfile.open(path, mode) as archive:
        for name, content in (("layer.tar", b"\0" * 10_000), *members):
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


def check(path):
    with path.open("rb") as file:
        check_tags(path, file, "team:latest")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize(
    "members",
    [
        pytest.param([(MANIFEST, images("team:latest"))], id="of an older engine"),
        pytest.param([(INDEX, index("docker.io/library/team:latest"))], id="OCI alone"),
        pytest.param([(INDEX, index("docker.io/library/team:latest")), (MANIFEST, images("team:latest"))], id="both"),
    ],
)
def test_an_archive_with_the_tag_of_its_name(tmp_path, members, mode):
    check(saved(tmp_path, *members, mode=mode))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        pytest.param([(MANIFEST, images("other:latest"))], "holds other:latest, but", id="another tag"),
        pytest.param([(MANIFEST, images("team:v2"))], "holds team:v2, but the organisers run team:", id="version"),
        pytest.param(
            [(MANIFEST, images("python:3.11", "team:latest"))], "holds python:3.11, team:latest, but", id="two tags"
        ),
        pytest.param(
            [(MANIFEST, images("team:latest") + images("python:3.11"))], "holds python:3.11, team", id="two images"
        ),
        pytest.param(
            [(MANIFEST, images("team:latest")), (INDEX, index("docker.io/library/python:3.11"))],
            "holds python:3.11, team:latest, but",
            id="the OCI index says another",
        ),
        pytest.param(
            [(MANIFEST, images("team:latest")), ("./manifest.json", images("python:3.11"))],
            "holds python:3.11, team:latest, but",
            id="a second manifest under another spelling",
        ),
        pytest.param([(MANIFEST, images("elsewhere.org/team:latest"))], "holds elsewhere.org/team", id="registry"),
        pytest.param([(MANIFEST, [{"RepoTags": None}])], "no image with a name in it", id="no tag"),
        pytest.param([], "no image with a name in it", id="no manifest"),
        pytest.param([(MANIFEST, b"words")], "no image with a name in it", id="no table"),
        pytest.param([(MANIFEST, {"RepoTags": 1})], "no image with a name in it", id="another table"),
        pytest.param([(MANIFEST, b" " * (1 << 20) + b"[]")], "no file of its usual size", id="too large"),
    ],
)
def test_what_could_replace_another_image_is_refused_in_one_line(tmp_path, members, message):
    with pytest.raises(SetupError, match=message) as refused:
        check(saved(tmp_path, *members))
    assert len(str(refused.value).splitlines()) == 1


def test_what_is_no_archive_or_half_of_one(tmp_path):
    path = saved(tmp_path, (MANIFEST, images("team:latest")))
    whole = path.read_bytes()
    for content in (b"no archive", b"", whole[:60]):
        path.write_bytes(content)
        with pytest.raises(SetupError, match="no image with a name in it"):
            check(path)


def test_a_link_in_place_of_the_manifest(tmp_path):
    path = saved(tmp_path, mode="w")
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(MANIFEST)
        member.type, member.linkname = tarfile.SYMTYPE, "elsewhere.json"
        archive.addfile(member)
    with pytest.raises(SetupError, match="no file of its usual size"):
        check(path)


def blocks(*members, end):
    """The bytes of a tar file, as far as its members, or to its end. A text is what a link points to."""
    raw = b""
    for name, content in members:
        member = tarfile.TarInfo(name)
        if isinstance(content, str):
            member.type, member.linkname, data = tarfile.SYMTYPE, content, b""
        else:
            data = json.dumps(content).encode()
        member.size = len(data)
        raw += member.tobuf() + data + bytes(-len(data) % 512)
    return raw + bytes(10240 if end else 0)


OURS, THEIRS = (MANIFEST, images("team:latest")), (MANIFEST, images("python:3.11"))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_file_of_two_streams_is_read_to_its_end(tmp_path, compress):
    path = tmp_path / "team.tar.gz"
    path.write_bytes(compress(blocks(("layer.tar", [0]), end=False)) + compress(blocks(OURS, end=True)))
    check(path)
    path.write_bytes(compress(blocks(OURS, end=False)) + compress(blocks(THEIRS, end=True)))
    with pytest.raises(SetupError, match=r"holds python:3\.11, team:latest, but"):
        check(path)


def test_a_table_beyond_a_link_is_refused(tmp_path):
    path = tmp_path / "team.tar.gz"
    path.write_bytes(blocks(OURS, ("a/layer.tar", "../b/layer.tar"), end=True))  # as older engines write them
    check(path)
    path.write_bytes(blocks(OURS, ("here", "."), ("here/manifest.json", images("python:3.11")), end=True))
    with pytest.raises(SetupError, match=r"here/manifest\.json lies beyond a link"):
        check(path)


def test_the_old_table_counts_too(tmp_path):
    check(saved(tmp_path, OURS, ("repositories", {"team": {"latest": "0"}})))
    with pytest.raises(SetupError, match=r"holds python:3\.11, team:latest, but"):
        check(saved(tmp_path, (INDEX, index("team:latest")), ("repositories", {"python": {"3.11": "0"}})))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param(b'[{"RepoTags": ["team:latest"], "repotag\xc5\xbf": ["python:3"]}]', "has repotag", id="letters"),
        pytest.param(b'[{"RepoTags": ["python:3"], "RepoTags": ["team:latest"]}]', "has a field twice", id="twice"),
        pytest.param(b"[" * 200_000, "no image with a name in it", id="deep"),
        pytest.param(b'[{"RepoTags": ["a\\nb"]}]', "holds a b, but", id="a name of two lines"),
    ],
)
def test_what_an_engine_reads_in_another_way_is_refused(tmp_path, table, message):
    with pytest.raises(SetupError, match=message) as refused:
        check(saved(tmp_path, (MANIFEST, table)))
    assert len(str(refused.value).splitlines()) == 1
