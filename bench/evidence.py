"""Evidence: what it costs appends, how fast it is proven, written and verified, and checkpoints under load."""

from pathlib import Path

from bench.bundles import Bundle, Verification
from bench.checkpoints import BATCH as LOADED
from bench.checkpoints import Checkpoints, measure_checkpoints
from bench.filling import Filled
from bench.options import Options
from bench.places import Places
from bench.price import BATCH, Price, measure_price
from bench.proofs import Proofs, measure_proofs
from bench.report import Figure, Target, at_least, at_most, median_figure, percentile, say

PART = "evidence"

_ROUND_PART = 1 / 25
"""How many events a round of appends has, of those that a round of batches has."""
_BUNDLE_ENTRIES = 1_000_000
_SMALL_PART = 1 / 10


def measure_evidence(options: Options, folder: Path, places: Places, stores: list[Filled]) -> list[Figure]:
    """All figures of this part; of a store that is no SQLite file, only proofs."""
    if options.store != "sqlite":
        return _measure_proofs(options, stores)
    batches = max(round(options.batch_events * _ROUND_PART / BATCH), 1)
    rounds = 2 * options.rounds + 1
    say(f"evidence: appends with and without it, {rounds} rounds of {batches * BATCH:,} events each")
    figures = _price_figures(measure_price(folder, rounds=rounds, batches=batches))
    figures += _measure_proofs(options, stores)
    figures += _measure_bundles(options, stores[-1])
    for public_log in (True, False):
        what = f"a {'public' if public_log else 'private'} log"
        say(f"evidence: checkpoints of {what} under load, {options.rounds} rounds of {options.seconds:g} seconds each")
        checkpoints = measure_checkpoints(places, rounds=options.rounds, seconds=options.seconds, public_log=public_log)
        figures += _checkpoint_figures(what, checkpoints)
    return figures


def _price_figures(price: Price) -> list[Figure]:
    pairs = list(zip(price.seconds_with, price.seconds_without, strict=True))
    ratios = [without_it / with_it for with_it, without_it in pairs]
    return [
        median_figure(PART, "rate of appends with evidence to that without", ratios, "", at_least(0.75)),
        median_figure(PART, "events appended with it", [price.events / seconds for seconds, _ in pairs], "events/s"),
        median_figure(PART, "events appended without it", [price.events / seconds for _, seconds in pairs], "events/s"),
        Figure(PART, "evidence on disk", price.disk_bytes, "bytes/event", beside=price.content_bytes),
    ]


def _measure_proofs(options: Options, stores: list[Filled]) -> list[Figure]:
    figures: list[Figure] = []
    for filled in stores:
        say(f"evidence: {options.calls} proofs at {filled.events:,}, cold (of a file), warm, over HTTP")
        figures += _proof_figures(filled.events, measure_proofs(filled, options.calls), options.targets.proof_ms)
    return figures


def _proof_figures(events: int, proofs: Proofs, wanted: Target | None) -> list[Figure]:
    def figure(name: str, warm: list[float], cold: list[float], target: Target | None = None) -> Figure:
        beside = {"p99": percentile(warm, 99)}
        if cold:
            beside |= {"cold p50": percentile(cold, 50), "cold p99": percentile(cold, 99)}
        in_ms = {what: seconds * 1000 for what, seconds in beside.items()}
        return Figure(PART, f"{name}, at {events:,}: p50", percentile(warm, 50) * 1000, "ms", target, beside=in_ms)

    return [
        figure("a random record's proof", proofs.made, proofs.made_cold, wanted),
        figure("only its entry, read by its _id", proofs.read, proofs.read_cold),
        figure("the proof over HTTP", proofs.served, []),
    ]


def _measure_bundles(options: Options, filled: Filled) -> list[Figure]:
    """Of as many entries as the larger log surely has, a million at most; and of a tenth of these."""
    large = min(_BUNDLE_ENTRIES, filled.events // 10 * 8)
    figures: list[Figure] = []
    verified: dict[int, list[Verification]] = {}
    for entries in (round(large * _SMALL_PART), large):
        say(f"evidence: a bundle of {entries:,} entries, {options.rounds} times verified")
        bundle = Bundle(filled, entries)
        verified[entries] = [bundle.verify() for _ in range(options.rounds)]
        bundle.remove()
        figures += _bundle_figures(bundle, verified[entries])
    small_peak, large_peak = (max(one.peak_memory_mb for one in rounds) for rounds in verified.values())
    name = f"peak memory of whodid verify, at {large:,} to that at {round(large * _SMALL_PART):,}"
    return [*figures, Figure(PART, name, large_peak / small_peak, "", at_most(1.2))]


def _bundle_figures(bundle: Bundle, rounds: list[Verification]) -> list[Figure]:
    at = f"at {bundle.entries:,}"
    target = at_least(150_000) if bundle.entries == _BUNDLE_ENTRIES else None
    return [
        Figure(PART, f"bundle written, {at}", bundle.entries / bundle.writing_seconds, "entries/s"),
        Figure(PART, f"bundle, {at}", bundle.file_bytes / bundle.entries, "bytes/entry"),
        median_figure(PART, f"bundle verified, {at}", [a.entries / a.seconds for a in rounds], "entries/s", target),
        median_figure(
            PART, f"raw limit, {at}: unpack, a hash a line", [a.entries / a.raw_seconds for a in rounds], "entries/s"
        ),
        median_figure(PART, f"ratio to that, {at}", [a.raw_seconds / a.seconds for a in rounds], ""),
        median_figure(PART, f"peak memory of whodid verify, {at}", [a.peak_memory_mb for a in rounds], "MB"),
    ]


def _checkpoint_figures(what: str, checkpoints: Checkpoints) -> list[Figure]:
    pairs = list(zip(checkpoints.with_calls, checkpoints.without_calls, strict=True))
    p50, p99 = (percentile(checkpoints.seconds, percent) * 1000 for percent in (50, 99))
    batch = [second for one, _ in pairs for second in one.latencies_seconds]
    beside = {"p50": p50, **{f"a batch's p{percent}": percentile(batch, percent) * 1000 for percent in (50, 99)}}
    return [
        Figure(PART, f"checkpoint of {what} under load: p99", p99, "ms", beside=beside),
        median_figure(
            PART, f"{what}: events recorded meanwhile", [a.per_second * LOADED for a, _ in pairs], "events/s"
        ),
        median_figure(
            PART, f"{what}: the same without these calls", [b.per_second * LOADED for _, b in pairs], "events/s"
        ),
        median_figure(PART, f"{what}: ratio of these", [a.per_second / b.per_second for a, b in pairs], ""),
    ]
