"""What rules ask of records, and which record, field or setting answers each: facts for the report, no judgement."""

from __future__ import annotations

from typing import NamedTuple


class Requirement(NamedTuple):
    """`answered` names what is there; `missing` what the vault does not hold or cannot show."""

    where: str
    asks: str
    answered: str
    missing: str


KEEPING = "Retention floor in days at the time of this report: {keep_days}. Oldest record: {first}."

REQUIREMENTS = (
    Requirement(
        "EU AI Act (Reg. (EU) 2024/1689), art. 12(1)",
        "High-risk systems technically allow the automatic recording of events over their lifetime.",
        "Every accepted request is an interaction record, written before the last byte of its answer leaves; "
        "start, stop and model records surround them. What cannot be recorded is refused; a gap record says how often.",
        "Events outside this server: what an application or a person did with an answer.",
    ),
    Requirement(
        "EU AI Act, art. 12(2)",
        "The events make it possible to find risk situations and substantial modifications, and to monitor operation.",
        "status, finish_reason and error of each interaction; fingerprint and the model record's parts (weights, "
        "tokenizer, template, engine); admin records of settings, models and keys; vault stats, search, replay.",
        "Which situation is a risk, and any monitoring of outcomes: that is for provider and deployer.",
    ),
    Requirement(
        "EU AI Act, art. 12(3)",
        "For remote biometric identification: period of use, reference database, matched input, verifying persons.",
        "timestamp and timings of each interaction.",
        "Reference databases, matches and the persons who verified: there are no such fields.",
    ),
    Requirement(
        "EU AI Act, art. 19(1) (providers) and 26(6) (deployers)",
        "Logs under their control are kept for a period that fits the purpose, at least six months.",
        KEEPING + " Prune and redact refuse what is younger (MINIVAULT_VAULT_KEEP_DAYS); legal holds; prune and "
        "redaction records say what went, when and by whom.",
        "Files removed by other means than this program: verify detects that back to what was signed and kept "
        "elsewhere, and cannot bring them back.",
    ),
    Requirement(
        "ISO/IEC 42001:2023, A.6.2.8",
        "It is decided in which phases of the life cycle event logs are kept, at the least while the system is in use.",
        "While in use: always; no setting turns recording off. start records hold settings_digest and sync.",
        "The decision itself, and phases before use (data, training, evaluation elsewhere).",
    ),
    Requirement(
        "21 CFR 11.10(e)",
        "Secure, computer-generated, time-stamped audit trails of entries and actions that create, modify or delete "
        "records; changes do not obscure earlier information; kept as long as the records, and available for copying.",
        "seq, timestamp, prev and hash of every record; redaction, prune, hold and admin records with by and time; "
        "read records of those who looked; vault export gives a copy with its proof. " + KEEPING,
        "A redaction removes earlier content on purpose (floor and holds prevent it). The clock is the machine's; "
        "timestamp authorities bound it where asked. A user of the system or a key is no identified person, and there "
        "are no signatures of persons (11.50).",
    ),
    Requirement(
        "SEC 17a-4(f)(2)(i), audit-trail alternative",
        "A complete time-stamped trail: modifications and deletions, when and by whom, so that an original can be "
        "re-created; or storage that cannot be rewritten or erased.",
        "Records are only appended; redaction and prune records name what went, when and by whom. Where nothing was "
        "redacted or pruned, each original is there, and its hash covers every byte.",
        "An original that was redacted or pruned cannot be re-created from the vault. The storage is an ordinary file "
        "system, not one that cannot be rewritten.",
    ),
    Requirement(
        "SEC 17a-4(f)(2)(ii)–(iii)",
        "Automatic verification of completeness and accuracy of storing; records in order, with date and time.",
        "With sync synced, fdatasync before an answer is whole (in start records: {syncs}); vault verify checks every "
        "hash, seq and signature; seq without gaps across processes; timestamp and time_ns.",
        "Whether the verifier is run regularly: verify leaves no record in the vault.",
    ),
    Requirement(
        "SEC 17a-4(f)(2)(iv)–(v)",
        "Download in human-readable and usable electronic form; a backup or other redundancy.",
        "vault export as jsonl (with proof), csv, sqlite, parquet; vault show; JSON Lines that any tool reads.",
        "A second copy: this program makes none by itself. Undertakings to the regulator and designated persons "
        "(17a-4(f)(3)).",
    ),
)
