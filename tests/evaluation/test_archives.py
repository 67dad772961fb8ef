import io
import json
import tarfile

import pytest

from app.errors import SetupError
from evaluation.archives import check_tags

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
