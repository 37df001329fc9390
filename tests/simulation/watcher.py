"""What has to hold in every history, checked with every step and at the end of time.

1. Nothing is bought twice.  2. Nothing that was taken vanishes.  3. What was returned once stays.
4. Budgets tell the truth.  5. Nobody waits for ever.  6. Every record can be read.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson

from prefect_media.assets import Asset
from prefect_media.errors import SubmissionInDoubt
from prefect_media.ledger.accounts import Account
from prefect_media.ledger.job_owners import FORGOTTEN
from prefect_media.ledger.record import Record

from .loop import Process
from .media import name_of
from .provider import IMAGE_USD, LISTED_USD, Unit

if TYPE_CHECKING:
    from .world import Run, World

CENT = 1e-6


class Watcher:
    """Looks at one history while it happens."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.violations: list[str] = []
        self.transitions: Counter[str] = Counter()
        self.records: dict[str, dict[str, Any]] = {}
        self.on_record: dict[str, str] = {}
        """Job ids that stand on a record, and the key of that."""
        self.on_record_since: dict[str, float] = {}
        self.nobodys: set[str] = set()
        """Job ids that stood on a record when somebody began to forget it: no later purchase may find and take them."""
        self.owners: dict[str, str] = {}
        """Job ids that somebody has taken, and the key of their purchase."""
        self.doubts: dict[str, float] = {}
        """When a doubt about a purchase was last raised to somebody."""
        self.forgotten: dict[str, float] = {}
        self.returned: dict[str, tuple[str, str]] = {}
        """URI of an asset that a buyer got: its purchase and its hash."""
        self._by_purchase: dict[str, list[Unit]] = {}

    def violated(self, number: int, what: str) -> None:
        self.violations.append(f"{number}: {what}")
        self.world.note(None, f"VIOLATION {number}: {what}")
        self.world.loop.stopped = True

    # With every step.

    def took(self, unit: Unit, process: Process) -> None:
        """The provider took something."""
        self.world.note(process, f"the provider takes {unit.id} for {unit.purchase} ({unit.fate})")
        if f"ledger/by-run/run/{self.world.key_of(unit.purchase)}" not in self.world.store.objects:
            self.violated(2, f"{unit.id} is bought for {unit.purchase}, which the index of its run does not have")
        earlier = self._by_purchase.setdefault(unit.purchase, [])
        for other in earlier:
            if self._counts(other) and self._counts(unit) and not self._may_be_bought_again(other, unit):
                self.violated(1, f"{unit.id} is bought for {unit.purchase}, which had {other.id} already")
        earlier.append(unit)
        limit = self.world.history.trait("budget")
        if limit is not None and not self.forgotten:
            units = [each for each in self.world.provider.units if each.run]
            images = sum(each.kind != "video" for each in units)
            excused = sum(each.usd for each in units if each.excused)
            if sum(each.usd for each in units) > limit + excused + images * (IMAGE_USD - LISTED_USD) + CENT:
                self.violated(4, f"{unit.id} passes the budget of {limit} USD")

    @staticmethod
    def _counts(unit: Unit) -> bool:
        """A line of a batch that is not made costs nothing, and is free to be bought again."""
        return unit.kind != "line" or unit.usd > 0

    def _may_be_bought_again(self, other: Unit, unit: Unit) -> bool:
        assert unit.run is not None and other.run is not None
        action = unit.run.action
        if action.resubmit:
            other.excused = unit.excused = "resubmitted"
            return True
        if other.run.action.resubmit and unit.sent <= other.taken:
            unit.excused = unit.excused or "resubmitted"  # what was in doubt arrives after what was bought in its place
            return True
        if self._was_forgotten(other) or self._was_forgotten(unit):
            return True
        if (other.is_void(self.world.loop.moment) or other.excused) and self._was_retried(other):
            return True
        # The same request in two scopes, both with a lost reply: it does not matter which takes which.
        holder = self.on_record.get(other.id) or self.owners.get(other.id)
        return holder is not None and self.world.purchase_of_key(holder) != unit.purchase

    def _was_retried(self, unit: Unit) -> bool:
        """Whether somebody said `retry_failed` of a purchase when the job had come to nothing."""
        void = unit.ends if unit.deleted is None else min(unit.deleted, unit.ends)
        return any(
            run.action.retry_failed and unit.purchase in run.purchases and run.ended >= void for run in self.world.runs
        )

    def _was_forgotten(self, unit: Unit) -> bool:
        """Whether somebody had a purchase forgotten while it was made, or after that."""
        return unit.run is not None and self.forgotten.get(unit.purchase, -1.0) >= unit.run.began

    def wrote(self, key: str, before: bytes | None, after: bytes) -> None:
        """Something was written to the ledger."""
        if key.startswith("ledger/purchases/"):
            self._record(key[17:-5], after)
        elif key.startswith("ledger/budgets/"):
            self._account(orjson.loads(after))
        elif key.startswith("ledger/by-job/"):
            taken = orjson.loads(after)
            self.owners.setdefault(taken["job"], taken["purchase"])
            if taken["job"] in self.nobodys and taken["purchase"] != FORGOTTEN:
                self.violated(2, f"{taken['job']} was forgotten, and is taken for a purchase that is made anew")

    def _record(self, key: str, data: bytes) -> None:
        old, new = self.records.get(key), orjson.loads(data)
        self.records[key] = new
        was, now = _tag(old) if old else "nothing", _tag(new)
        self.transitions[f"{was} > {now}"] += 1
        if self.world.trace is not None:
            name = self.world.purchase_of_key(key)
            self.world.note(
                None, f"record of {name}: {was} > {now} (attempt {new['attempt']}, ids {sorted(_ids(new))})"
            )
        ids = _ids(new)
        for each in ids:
            self.on_record[each] = key
            self.on_record_since.setdefault(each, self.world.loop.moment)
        if old is None:
            return
        if missing := _ids(old) - ids:
            self.violated(2, f"{sorted(missing)} are off the record of {self.world.purchase_of_key(key)}")
        if was.endswith("intent free doubtful") and new["state"] == "failed":
            self.violated(2, f"{self.world.purchase_of_key(key)} failed while nobody looked for what is in doubt")
        if old["state"] == "done" and new["state"] != "done" and new["operation"] != "batch":
            self.violated(3, f"{self.world.purchase_of_key(key)} was done and is {new['state']}")

    def _account(self, account: dict[str, Any]) -> None:
        amounts = [account["spent_usd"], *(each["usd"] for each in account["reserved"].values())]
        if not all(math.isfinite(amount) and amount >= 0 for amount in amounts):
            self.violated(4, f"the account has amounts that can't be: {amounts}")
        self.world.note(None, f"account: {account['spent_usd']} spent, {len(account['reserved'])} reserved")

    def forgot(self, key: str) -> None:
        """Somebody had a purchase forgotten. Of one that is being made at that moment, nothing can be said any more."""
        purchase = self.world.purchase_of_key(key)
        began = max(run.began for run in self.world.runs if run.action.kind == "forget" and purchase in run.purchases)
        gone = self.records.pop(key, None)
        if gone is not None:
            self.nobodys |= {each for each in _ids(gone) if self.on_record_since[each] < began}
        self.forgotten[purchase] = self.world.loop.moment
        if any(purchase in run.purchases and not run.over and run.action.kind != "forget" for run in self.world.runs):
            self.forgotten[purchase] = math.inf
        self.world.note(None, f"{purchase} is forgotten")

    def deleted(self, unit: Unit, run: Run) -> None:
        """Somebody deleted a job at the provider."""
        if run.action.kind != "cancel" and not run.action.cancel_remote:
            self.violated(2, f"{unit.id} is deleted, which was not requested")
        slept = self.world.injected["stands still"] > 0  # between the look at the job and its end
        if unit.fate == "completed" and self.world.loop.moment > unit.ends + 10.0 and not slept:
            self.violated(2, f"{unit.id} is deleted, and was finished and paid for")

    def ended(self, run: Run) -> None:
        """A buyer got something, or an error."""
        if isinstance(run.error, SubmissionInDoubt):
            for purchase in run.purchases:
                self.doubts[purchase] = self.world.loop.moment
        for purchase, asset in run.assets:
            self._returned(purchase, asset)

    def _returned(self, purchase: str, asset: Asset) -> None:
        place = asset.uri.partition("//sim/")[2]
        stored = self.world.store.objects.get(place)
        if stored is None or hashlib.sha256(stored[0]).hexdigest() != asset.sha256:
            self.violated(3, f"{asset.uri} was returned for {purchase}, and is not whole in the store")
            return
        unit = self.world.provider.unit(name_of(stored[0]))
        if unit is None or unit.purchase.partition("@")[0] != purchase.partition("@")[0]:
            self.violated(3, f"{asset.uri} was returned for {purchase}, and is that of {unit and unit.purchase}")
        self.returned[place] = purchase, asset.sha256

    # At the end of time.

    def finish(self) -> None:
        """Check what has to be true when all is over."""
        for place, (purchase, sha256) in self.returned.items():
            stored = self.world.store.objects.get(place)
            if stored is None or hashlib.sha256(stored[0]).hexdigest() != sha256:
                self.violated(3, f"{place}, returned once for {purchase}, is gone or another")
        kept = self._kept()
        unknown = [unit for unit in self.world.provider.units if unit.run and not self._is_known(unit, kept)]
        stand_ins = Counter(_subject(unit) for unit in self.world.provider.units if self._stands_in(unit))
        for unit in unknown:
            if stand_ins[_subject(unit)] > 0:  # what is on record in its place is as good
                stand_ins[_subject(unit)] -= 1
                continue
            self.violated(2, f"{unit.id}, taken for {unit.purchase}, is on no record and nobody was told")
        for key, row in self.records.items():
            self._is_at_rest(key, row)
        for key, (data, _) in self.world.store.objects.items():
            if key.startswith("ledger/purchases/"):
                Record.model_validate_json(data)
            elif key.startswith("ledger/budgets/"):
                self._settled(Account.model_validate_json(data))

    def _is_at_rest(self, key: str, row: dict[str, Any]) -> None:
        """Whether what a record says at the end is so, and something can follow from it."""
        name = self.world.purchase_of_key(key)
        unit = self.world.provider.unit(row["job"]["id"]) if row["job"] else None
        if row["state"] == "failed" and unit and not unit.excused and not unit.is_void(self.world.loop.moment):
            self.violated(2, f"{name} is given up, and {unit.id} is {unit.fate}")
        if row["state"] == "submitted" and row["batch"] and row["operation"] != "batch":
            batch = self.records.get(row["batch"]["key"])
            if batch is None or batch["state"] == "done":
                self.violated(2, f"{name} waits for a batch that is over")

    def _kept(self) -> set[str]:
        """Names of everything that lies in the store and on a record."""
        places = [asset["uri"].partition("//sim/")[2] for row in self.records.values() for asset in row["assets"]]
        return {name_of(found[0]) for place in places if (found := self.world.store.objects.get(place))}

    def _is_known(self, unit: Unit, kept: set[str]) -> bool:
        record = self.records.get(self.world.key_of(unit.purchase))
        if unit.usd == 0 or unit.excused or unit.id in kept:
            return True
        if self.doubts.get(unit.purchase, -1.0) >= unit.taken or self._was_forgotten(unit):
            return True
        owner = self.owners.get(unit.id)
        if owner and self.forgotten.get(self.world.purchase_of_key(owner), -1.0) >= unit.taken:
            return True  # its twin adopted it, and was forgotten before that was on record
        if unit.is_void(self.world.loop.moment) and self._was_retried(unit):
            return True
        if unit.kind == "video":
            return unit.id in self.on_record
        if record is None:
            return False
        if unit.kind == "line" and unit.batch in self.on_record:
            return record["state"] in ("failed", "submitted") or self.world.may_wait(unit)
        return record["state"] == "in_doubt" or record["doubtful"]  # whoever buys it next is told

    def _stands_in(self, unit: Unit) -> bool:
        """Whether a purchase has a video on record that was taken for another, where somebody was told of a doubt."""
        holder = self.on_record.get(unit.id)
        if unit.run is None or unit.kind != "video" or holder not in self.records:
            return False
        if not (unit.excused or self.doubts.get(unit.purchase, -1.0) >= unit.taken or self._was_forgotten(unit)):
            return False
        return self.world.purchase_of_key(holder) != unit.purchase or self._was_forgotten(unit)

    def _may_count_too_much(self) -> bool:
        """Whether a budget may say more than was spent: what may have been paid for counts, and so does what was
        reserved by a process that stood still for longer than its lease meanwhile."""
        slept = any(kind == "stands still" or "slow" in kind for kind in self.world.injected)
        stale = self.world.injected["store: stale list"] > 0
        # A job that failed between somebody's look at it and its deletion: nobody can be asked any more what it cost.
        unseen = any(unit.deleted is not None and unit.ends <= unit.deleted for unit in self.world.provider.units)
        return slept or stale or unseen or any(action.resubmit for action in self.world.history.actions)

    def _settled(self, account: Account) -> None:
        if self.forgotten:
            return
        units = [unit for unit in self.world.provider.units if unit.run]
        charged = sum(unit.usd for unit in units)
        open_keys = {key for key, row in self.records.items() if _is_open(row)}
        if left := set(account.reserved) - open_keys:
            self.violated(4, f"{len(left)} purchases that are over stay reserved")
        images = sum(unit.kind != "video" for unit in units)
        known = account.spent_usd + account.reserved_usd
        if charged > known + images * (IMAGE_USD - LISTED_USD) + CENT:
            self.violated(4, f"{charged:.5f} USD are charged, and the account knows of {known:.5f}")
        if account.spent_usd > charged + CENT and not self._may_count_too_much():
            self.violated(4, f"{account.spent_usd:.5f} USD are said to be spent, and {charged:.5f} were")


def _subject(unit: Unit) -> tuple[str, str]:
    """What a provider was asked for, whoever asked."""
    return unit.kind, unit.purchase.partition("@")[0]


def _tag(row: dict[str, Any]) -> str:
    """The state of a record as the diagrams in ledger.py know it."""
    whose = "batch " if row["operation"] == "batch" else "in a batch " if row["batch"] else ""
    lease = "" if row["state"] != "intent" else " leased" if row["lease"] else " free"
    return f"{whose}{row['state']}{lease}{' doubtful' if row['doubtful'] else ''}"


def _is_open(row: dict[str, Any]) -> bool:
    """Whether it can't be said yet what a purchase costs."""
    return row["state"] in ("in_doubt", "submitted") or (row["state"] == "intent" and (row["lease"] or row["doubtful"]))


def _ids(row: dict[str, Any]) -> set[str]:
    ids = set(row["other_jobs"])
    if row["job"]:
        ids.add(row["job"]["id"])
    elif row["operation"] == "batch" and row["batch"] and row["batch"]["id"]:
        ids.add(row["batch"]["id"])
    return ids
