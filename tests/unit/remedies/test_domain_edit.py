"""Another model for one network card of a definition, and not a byte more."""

from __future__ import annotations

import pytest

from hostward.remedies.domain_edit import CantEdit, with_nic_model

MAC = "52:54:00:00:00:01"


def domain(devices: str) -> bytes:
    head = "<?xml version='1.0'?>\n<!-- ä -->\n<domain type='kvm'>\n"
    return f"{head}  <devices>\n{devices}  </devices>\n</domain>\n".encode()


def card(mac: str = MAC, model: str = "      <model type='rtl8139'/>\n") -> str:
    body = f"      <mac address='{mac}'/>\n{model}      <address slot='0x03'/>\n"
    return f"    <interface type='network'>\n{body}    </interface>\n"


@pytest.mark.parametrize(
    "model",
    [
        "<model type='rtl8139'/>",
        '<model   type="rtl8139" />',
        "<model type='rtl8139'></model>",
        "<model type='rtl8139'>\n      </model>",
    ],
)
def test_only_the_model_changes(model: str) -> None:
    other = card("52:54:00:00:00:02")
    before = domain(other + card(model=f"      {model}\n"))
    assert with_nic_model(before, MAC.upper(), "virtio") == domain(other + card(model="      <model type='virtio'/>\n"))


def test_a_card_without_a_model_gets_one_after_its_address() -> None:
    assert with_nic_model(domain(card(model="")), MAC, "e1000") == domain(card(model="      <model type='e1000'/>\n"))
    line = f"<domain><devices><interface><mac address='{MAC}'/><source/></interface></devices></domain>"
    assert (
        with_nic_model(line.encode(), MAC, "e1000")
        == line.replace("<source/>", "<model type='e1000'/><source/>").encode()
    )


def test_twice_changes_nothing_more() -> None:
    once = with_nic_model(domain(card()), MAC, "virtio")
    assert with_nic_model(once, MAC, "virtio") == once


def test_other_devices_with_a_model_are_left_alone() -> None:
    video = "    <video>\n      <mac address='52:54:00:00:00:01'/>\n      <model type='rtl8139'/>\n    </video>\n"
    changed = with_nic_model(domain(video + card()), MAC, "virtio")
    assert changed == domain(video + card(model="      <model type='virtio'/>\n"))


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (domain(card() + card()), "2 network cards"),
        (domain(""), "0 network cards"),
        (b"<domain>", "not XML"),
        (b"<!DOCTYPE d [<!ENTITY a 'b'>]><domain/>", "document type"),
    ],
)
def test_what_is_not_there_exactly_once_is_refused(xml: bytes, reason: str) -> None:
    with pytest.raises(CantEdit, match=reason):
        with_nic_model(xml, MAC, "virtio")
