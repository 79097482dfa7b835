"""One suite of questions to every destination: would this adapter lose, leak or invent a row?

Destinations with requests are asked against the sandbox, which can be told to fail; of the
others everything that needs no server. Their own tests ask them against a real one.
"""

from destinations.conformance.bench import Bench, bench
from destinations.conformance.cases import CASES
from destinations.conformance.suite import Verdict, ask, examine

__all__ = ["CASES", "Bench", "Verdict", "ask", "bench", "examine"]
