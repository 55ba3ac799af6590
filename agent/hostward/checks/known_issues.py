"""Known issues of vendors and sites that a declarative match decides, and KSM's, which needs a fact of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hostward.checks import check
from hostward.model import Finding, Severity, Unavailable

if TYPE_CHECKING:
    from hostward.facts.issue_matches import IssueMatches
    from hostward.facts.issue_scope import ApplicableIssues
    from hostward.facts.ksm import Ksm


@check("known-issues.met", title="no known issue of this release is met on this host")
def met(matches: IssueMatches) -> Iterator[Finding]:
    """Vendors' release notes and package changelogs name issues; here they are data, each with where it applies
    (release, package, kernel) and what shows it: a path in a guest's definition, a module, a unit, a file. Sites add
    theirs in /etc/hostward/known-issues.d; `hostward known-issues` lists them all.
    """
    for found in matches.found:
        issue = found.issue
        about = f"{found.guest}: " if found.guest else ""
        yield Finding(
            issue.severity,
            f"{about}{issue.title}",
            subject=f"{issue.id} {found.guest}".strip(),
            evidence=(*found.evidence, f"{issue.product} {issue.release}, {issue.section}; applies: {issue.needs}"),
            advice=issue.advice,
            references=issue.references,
        )
    if matches.cannot_tell:
        raise Unavailable("; ".join(matches.cannot_tell[:5]))


@check("guests.ksm-statistics", title="what merging the guests' memory saves can be seen")
def ksm_statistics(ksm: Ksm, issues: ApplicableIssues) -> Iterator[Finding]:
    """KSM merges equal pages of guests. Kernels since 2.6.32 tell what that saves in /sys/kernel/mm/ksm; the module
    `ksm` of kmod-kvm is an older one that tells nothing, so neither the administrator nor a ksmtuned that came from
    elsewhere can see whether the work of its thread is worth it.
    """
    if ksm.statistics:
        return
    known = issues.of_check("guests.ksm-statistics")
    evidence = ["/sys/kernel/mm/ksm is not there, the module ksm is"]
    if ksm.ksmtuned:
        evidence.append(f"ksmtuned (process {ksm.ksmtuned}) runs and has nothing to go by")
    yield Finding(
        Severity.WARNING if ksm.ksmtuned else Severity.INFO,
        "KSM is the old module here, which gives no statistics"
        + (": ksmtuned, which needs them, is blind" if ksm.ksmtuned else ""),
        subject="ksm",
        evidence=tuple(evidence),
        advice=known[0].advice if known else "A kernel of 2.6.32 or later has KSM built in, with statistics.",
        references=known[0].references if known else (),
    )
