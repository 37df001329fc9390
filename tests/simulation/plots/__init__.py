"""Plots: what chance alone leads to in less than one history of a thousand. Each is a few decisions, with some chance.

A plot takes the place of what buyers do and what breaks; the rest of the history stays drawn by chance.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from . import batches, single
from .plot import Plot

PLOTS: tuple[Callable[[Random], Plot], ...] = (
    batches.batch_that_nobody_finds,
    batches.batch_after_a_doubt,
    batches.batch_after_a_doubt,
    batches.batch_that_dies_after_a_doubt,
    batches.batch_of_something_failed,
    batches.batch_of_something_failed,
    batches.batch_of_something_failed,
    batches.line_that_fails_after_a_doubt,
    batches.line_that_is_not_indexed,
    batches.line_that_is_not_indexed,
    batches.batch_of_what_another_is_buying,
    single.pause_while_paying,
    single.forgotten_while_bought,
    single.forgotten_while_bought,
    single.forgotten_and_refused,
    single.forgotten_and_refused,
    single.refused_after_a_doubt,
    single.refused_after_a_doubt,
    single.doubt_that_is_not_written,
    single.doubt_that_is_not_written,
    single.cancelled_after_it_failed,
    single.twins_whose_replies_are_lost,
    single.earlier_job_of_what_is_bought_again,
    batches.resubmission_that_is_cancelled,
    single.takeover_that_is_given_up,
    single.doubt_about_a_forgotten_answer,
    batches.image_forgotten_and_ordered_in_a_batch,
    batches.batch_that_dies_before_its_lines_are_on_record,
    batches.lines_in_doubt_whose_batch_is_in_doubt,
    batches.batch_of_nothing_that_falls_asleep,
    single.doubt_about_a_forgotten_failure,
    batches.batch_of_nothing_whose_takeover_is_given_up,
    single.retried_and_forgotten,
    batches.batch_whose_takeover_is_in_doubt,
    batches.image_forgotten_at_its_second_try,
    batches.takeover_of_a_batch_when_the_store_is_away,
    batches.batch_ordered_in_spite_of_its_own_doubt,
    single.forgotten_while_it_is_looked_for,
    single.outage_between_looks,
)
