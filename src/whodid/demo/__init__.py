"""The demonstration: a month of believable activity in a company that delivers software, and an account to hold it.

``people`` says who works there, ``doings`` what they do, ``month`` makes the month out of both, ``filling`` puts it
into a store. What is made is the same for the same seed.
"""

from whodid.demo.filling import ACCOUNT, Demonstration, prepare
from whodid.demo.month import activity
from whodid.demo.people import PEOPLE, Person

__all__ = ["ACCOUNT", "PEOPLE", "Demonstration", "Person", "activity", "prepare"]
