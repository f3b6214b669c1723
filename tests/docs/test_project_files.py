"""What the repository's page offers: security, citation, forms for issues; they are sound and name what is there."""

import re

import pytest
import yaml

import urnet
from tests.helpers.doc_commands import ROOT

FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def test_version_and_date_are_the_same_in_all_places():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    (version,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert cited["version"] == version == urnet.__version__
    assert cited["license"] == "Apache-2.0"
    newest = re.search(r"^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest.groups() == (version, str(cited["date-released"]))


@pytest.mark.parametrize("form", [path for path in FORMS if path.name != "config.yml"], ids=lambda path: path.stem)
def test_a_form_asks_for_something_and_names_commands_that_are_there(form):
    text = form.read_text(encoding="utf-8")
    read = yaml.safe_load(text)
    assert {"name", "description", "body"} <= read.keys()
    identifiers = [part["id"] for part in read["body"]]
    assert len(set(identifiers)) == len(identifiers)
    for part in read["body"]:
        assert part["type"] in ("textarea", "input", "dropdown", "checkboxes", "markdown")
        assert part["attributes"]["label"]
    for program in re.findall(r"python (\S+\.py)", text):
        assert (ROOT / program).is_file(), program


def test_links_of_the_security_page_lead_somewhere():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []
