"""Which strings may be recorded."""

import pytest

from mapping.engine import recordable_label, recordable_ref
from tests.engine.support import NAMES, document

LABELS = [
    "US_SSN", "hate/threatening", "S10", "S1: Violence", "Suicide & Self-Harm", "Sexual (minor)",
    "Hate/Identity Hate", "Public IP (ipv4)", "Base64 High Entropy String", "CKV_SECRET_6",
    "AML.T0051.001", "avid-effect:security:S0100", "noise_sensitivity(mode=relevant)",
    "Correctness [GEval]", "hate_lgbtq+", "i2b2-2014-deid", "CREDIT_CARD_NUMBER_LAST_4",
    "packagehallucination.PackageHallucinationDetector", "content safety check input",
    "unsafe_content.SurgeProfanitySexualOrientationGender", "B303", "CWE-328", "W007", "42",
    "word salad", "Beleidigung", "仇恨", "O14: Illegal Activities", "LOCATION-OTHER",
    "UK_UNIQUE_TAXPAYER_REFERENCE_NUMBER", "insecure-hash-function-usage", "AWSSessionKey",
    "Controlled/Regulated Substances", "hf_toxicity_classifier", "npm_package_hallucination",
    "key-management-failure", "FI_PERSONAL_IDENTITY_CODE", "EMAIL|PHONE",
]  # fmt: skip
PERSONAL = [
    "jane.roe@example.org", "Jane <jane@example.org>", "078-05-1120", "078 05 1120", "078051120",
    "SSN 078-05-1120", "4111 1111 1111 1111", "4111111111111111", "+1 415 555 0132",
    "(415) 555-0132", "415-555-0132", "call 555-0132", "+49 30 901820", "DE89370400440532013000",
    "GB29 NWBK 6016 1331 9268 19", "192.168.17.4", "2001:db8::ff00:42:8329", "fe80::1",
    "00:1b:63:84:45:e6", "1984-03-07", "07/03/1984", "7.3.1984",
    "\u0660\u0667\u0668-\u0660\u0665-\u0661\u0661\u0662\u0660",
]  # fmt: skip
SECRETS = [
    "AKIAIOSFODNN7EXAMPLE", "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "glpat-abcdefghij0123456789", "xoxb-123456789012-abcdefghij",
    "sk-proj-abcdefghijklmnop0123", "sk_live_abcdefghijklmnop0123",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "AIzaSyA-0123456789abcdefghijklmnopqrst",
    "hf_abcdefghijABCDEFGHIJabcdefghijABCD", "npm_abcdefghij0123456789ABCDEFGHIJ012345",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "0123456789abcdef0123456789abcdef",
    "d41d8cd98f00b204e9800998ecf8427e", "postgres://app:hunter2@db/app", "password=hunter2",
    "postgres://app:hunter2",
    "api_key = abc", "Bearer abcdef0123456789", "-----BEGIN RSA PRIVATE KEY-----",
    "550e8400-e29b-41d4-a716-446655440000",
]  # fmt: skip
PROSE = [
    "The user asked for a refund.", "He said no. She said yes", "what is my balance", "Really?",
    "I want to see the doctor", "my password is hunter2", "one two three four five six seven",
    "line\nbreak", "tab\tstop", " leading", "double  space", "", "x" * 101, "<script>", "{}",
    "Zebulon told nurse about knee pain", "Пациент Зебулон жалуется на боль",
    "患者の是武論さんは膝が痛いと言っています",
    "a;b. c", "he's the one", "zero\u200bwidth", "bidi\u202etxet", "lone\ud800surrogate", "!!!",
]  # fmt: skip


@pytest.mark.parametrize("text", LABELS)
def test_labels_are_recorded(text: str) -> None:
    assert recordable_label(text)


@pytest.mark.parametrize("text", PERSONAL + SECRETS + PROSE)
def test_other_strings_are_not(text: str) -> None:
    assert not recordable_label(text)


# Titles as long as sentences. A known label is found in its file before its shape is asked, so
# nothing is lost; the same titles from a detector without a file would be kept as hashes.
PROSE_TITLES = {"pyrit-scorers": 6, "sigma-ai-rules": 2}


@pytest.mark.parametrize("name", NAMES)
def test_the_check_knows_labels_when_it_sees_them(name: str) -> None:
    """Nearly every label of the vocabularies passes also where it is not known."""
    names = list(document("detectors", name)["labels"])
    refused = [label for label in names if not recordable_label(label)]
    assert len(refused) <= PROSE_TITLES.get(name, len(names) * 0.02), refused


REFS = [
    "http://localhost:8080/x", "http://localhost:8080",
    "s3://bucket/2026/11/20/event.json", "splunk:index=main,id=9837465", "chat/support",
    "550e8400-e29b-41d4-a716-446655440000", "2.2.366", "v1alpha1", "0.9.0.13",
    "pkg@1.2.3", "image@sha256:0123456789abcdef", "omni-moderation-2024-09-26",
    "arn:aws:s3:::bucket/key", "https://logs.example.org/event?id=123456789012", "2024-09-01",
    "0123456789abcdef0123456789abcdef01234567", "trace-00-4bf92f3577b34da6a3ce929d0e0e4736",
]  # fmt: skip


@pytest.mark.parametrize("text", REFS)
def test_references_are_recorded(text: str) -> None:
    assert recordable_ref(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "two words", "x" * 201, "ünïcode", "line\n", "user:jane.roe@example.org", "078-05-1120",
        "user/078-05-1120", "078051120", "4111-1111-1111-1111", "card/4111111111111111",
        "tel:+14155550132", "415-555-0132", "https://app:hunter2@example.org/",
        "postgres://app:hunter2",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "AKIAIOSFODNN7EXAMPLE", "id?token=abcdef",
        "s3/x?sig=abcdef", "the+patient+told+me+that+his+knee+hurts",
        "the_patient_told_me_that_his_knee_hurts",
        "dGhlIHBhdGllbnQgdG9sZCBtZSB0aGF0IGhpcyBrbmVlIGh1cnRz",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345", "ip/192.168.17.4",
    ],
)  # fmt: skip
def test_references_with_personal_data_or_secrets_are_not(text: str) -> None:
    assert not recordable_ref(text)
