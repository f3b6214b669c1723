"""What a person decided about pictures: the file ``decisions.csv``, read, written, and matched with a list."""

from urnet.data.decisions.matching import Matcher, matched
from urnet.data.decisions.reader import read_decisions
from urnet.data.decisions.records import DECISIONS, HEADER, Decision, Decisions
from urnet.data.decisions.writer import DecisionsFile

__all__ = ["DECISIONS", "HEADER", "Decision", "Decisions", "DecisionsFile", "Matcher", "matched", "read_decisions"]
