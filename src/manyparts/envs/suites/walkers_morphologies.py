"""Bodies of walkers, each drawn from its name: torso, legs, masses, joints and motors; numpy only.

There are three universes (train, validation, test) of two kinds (planar, free), each without end.
"test-free-0003" is body 3 of the test universe's free walkers, the same in every process. Universes
are disjoint: the plane of (length of the torso, height of the hips) is cut into cells of 5 mm, each
of which belongs to one universe, as cells of goals belong to one split (`goals.split_of`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np

from manyparts.envs.base import Split
from manyparts.envs.goals import split_of

Kind = Literal["planar", "free"]
Stance = Literal["upright", "level", "sprawled"]
Axis = Literal["roll", "yaw", "bend"]
Choice = TypeVar("Choice")
KINDS: tuple[Kind, ...] = ("planar", "free")
UNIVERSES: Mapping[str, Split] = {
    "train": "train",
    "validation": "validation",
    "test": "evaluation",
}
STANCES: Mapping[Kind, tuple[Stance, ...]] = {
    "planar": ("upright", "level", "level"),
    "free": ("level", "sprawled"),
}
HIPS_HEIGHT: Mapping[Stance, tuple[float, float]] = {
    "upright": (0.45, 0.8),
    "level": (0.35, 0.7),
    "sprawled": (0.2, 0.35),
}
GRAVITY = 9.81
# The speed to walk at is a brisk walk's whatever the size: v^2 / (g * height of the hips), the
# Froude number.
FROUDE = 0.25
# A joint's torque and its turn beside the hip's bend: along the leg, and for a hip's roll or yaw.
TORQUE_ALONG_LEG = (1.0, 0.8, 0.4)
HEEL = 0.3  # the part of a foot that is behind the ankle
MIDDLE_OF_FOOT = 0.5 - HEEL
TURN_ALONG_LEG = (1.0, 1.0, 0.7)
SIDEWAYS = 0.5


@dataclass(frozen=True)
class Leg:
    """A chain of capsules. hip: metres in the torso's frame (x forward, y left, z up). azimuth:
    radians, the direction of the vertical plane in which it bends, 0 is forward. lengths: metres,
    one a link from the hip down. tilts: radians from straight down towards the azimuth, standing.
    axes: of the joints by which each link hangs on the one before."""

    hip: tuple[float, float, float]
    azimuth: float
    lengths: tuple[float, ...]
    tilts: tuple[float, ...]
    axes: tuple[tuple[Axis, ...], ...]

    def reach(self, link: int) -> float:
        """How far along the azimuth the ground bears the leg, from the joint of a link, metres,
        standing. A third link is a foot, which is borne at its middle."""
        forward = [
            length * math.sin(tilt) for length, tilt in zip(self.lengths, self.tilts, strict=True)
        ]
        forward[2:] = [MIDDLE_OF_FOOT * length for length in self.lengths[2:]]
        return sum(forward[link:])


@dataclass(frozen=True)
class Muscles:
    """What all joints of a body have in common, in units of its own size.

    torque: of a hip's motor at full control, in weight times height of the torso's middle. spring:
    in its torque a radian; springs alone bear the weight in the standing pose. free_speed: rad/s
    that a motor reaches without load, against the joint's friction. rotor_seconds: it takes to get
    there, without the leg. turn: radians either way, of a hip.
    """

    torque: float
    spring: float
    free_speed: float
    rotor_seconds: float
    turn: float


@dataclass(frozen=True)
class Joint:
    """A hinge with a motor and a spring. axis: "bend" turns in the leg's plane, "roll" about the
    torso's forward axis, "yaw" about its vertical one. turn: radians either way. torque: N m.
    stiffness: N m a radian. rest: radians, where the spring is slack. damping: N m s. armature: kg
    m^2."""

    axis: Axis
    turn: float
    torque: float
    stiffness: float
    rest: float
    damping: float
    armature: float


@dataclass(frozen=True)
class Morphology:
    """A walker. torso: metres from one end to the other, a capsule that lies, or stands upright on
    its hips. torso_radius, leg_radius, hips_height: metres, the last one standing. density: kg/m^3.
    friction: of the feet. hue: of its colour, in turns."""

    name: str
    kind: Kind
    stance: Stance
    torso: float
    hips_height: float
    torso_radius: float
    leg_radius: float
    density: float
    friction: float
    hue: float
    muscles: Muscles
    legs: tuple[Leg, ...]

    @property
    def centre(self) -> float:
        """Metres from the floor to the middle of the torso, standing."""
        return self.hips_height + (self.torso / 2 if self.stance == "upright" else 0)

    @property
    def speed(self) -> float:
        """The speed to walk at, m/s."""
        return math.sqrt(FROUDE * GRAVITY * self.hips_height)

    @cached_property
    def mass(self) -> float:
        """Kilograms, of all capsules."""
        legs = sum(
            _capsule_volume(length, self.leg_radius) for leg in self.legs for length in leg.lengths
        )
        return self.density * (legs + _capsule_volume(self.torso, self.torso_radius))

    def joint(self, leg: Leg, link: int, axis: Axis) -> Joint:
        """The joint about an axis by which a link of a leg hangs, the hip's being link 0."""
        muscles, sideways = self.muscles, 1.0 if axis == "bend" else SIDEWAYS
        weight = self.mass * GRAVITY
        torque = sideways * TORQUE_ALONG_LEG[link] * muscles.torque * weight * self.centre
        stiffness, damping = muscles.spring * torque, torque / muscles.free_speed
        load = self._load(leg, link) if axis == "bend" else 0.0
        return Joint(
            axis=axis,
            turn=sideways * TURN_ALONG_LEG[link] * muscles.turn,
            torque=torque,
            stiffness=stiffness,
            rest=-load / stiffness,
            damping=damping,
            armature=damping * muscles.rotor_seconds,
        )

    def _load(self, leg: Leg, link: int) -> float:
        """N m by which the ground, which bears an equal share of the body at each foot, turns a leg
        at a link's joint, less what its own links weigh."""
        ground, at, links = self.mass / len(self.legs) * leg.reach(link), 0.0, 0.0
        parts = zip(leg.lengths[link:], leg.tilts[link:], strict=True)
        for number, (length, tilt) in enumerate(parts, start=link):
            along = length * math.sin(tilt)
            middle = (
                MIDDLE_OF_FOOT if number == 2 else 0.5
            )  # of the link, as a part of it beyond its joint
            links += self.density * _capsule_volume(length, self.leg_radius) * (at + middle * along)
            at += along
        return GRAVITY * (ground - links)


def is_morphology(name: str) -> bool:
    """Whether this is the name of a body: "train-planar-0017", of four digits, or more where these
    do not do."""
    found = re.fullmatch(rf"({'|'.join(UNIVERSES)})-({'|'.join(KINDS)})-(\d+)", name, re.ASCII)
    return found is not None and found[3] == f"{int(found[3]):04d}"


def draw_morphology(name: str) -> Morphology:
    """The body of this name, a pure function of it. ValueError where `is_morphology` says no."""
    if not is_morphology(name):
        raise ValueError(f"{name!r} is no body, such as train-planar-0017")
    universe, word, _ = name.split("-")
    kind: Kind = "planar" if word == "planar" else "free"
    generator = _generator(name)
    stance = _one_of(generator, STANCES[kind])
    while True:  # a cell is the universe's own with odds of .7, .1 or .2
        torso, hips = _between(generator, 0.4, 0.9), _between(generator, *HIPS_HEIGHT[stance])
        if split_of(f"walkers-{kind}", (torso, hips)) == UNIVERSES[universe]:
            break
    torso_radius, leg_radius = _between(generator, 0.05, 0.09), _between(generator, 0.025, 0.045)
    legs = {"planar": _planar_legs, "free": _free_legs}[kind](
        generator, stance, torso, torso_radius + leg_radius
    )
    return Morphology(
        name=name,
        kind=kind,
        stance=stance,
        torso=torso,
        hips_height=hips,
        torso_radius=torso_radius,
        leg_radius=leg_radius,
        density=_between(generator, 500, 1200),
        friction=_between(generator, 0.8, 1.2),
        hue=_between(generator, 0, 1),
        muscles=_muscles(generator, len(legs)),
        legs=tuple(_as_tall_as(leg, hips - leg_radius) for leg in legs),
    )


def _muscles(generator: np.random.Generator, num_legs: int) -> Muscles:
    return Muscles(
        torque=_between(generator, 0.9, 1.4) * math.sqrt(2 / num_legs),
        spring=_between(generator, 0.9, 1.2),
        free_speed=_between(generator, 8, 14),
        rotor_seconds=_between(generator, 0.02, 0.05),
        turn=_between(generator, 0.7, 1.1),
    )


def _planar_legs(
    generator: np.random.Generator, stance: Stance, torso: float, aside: float
) -> list[Leg]:
    """Two to four legs one behind the other; an upright torso has two, one set forward and one
    back."""
    upright = stance == "upright"
    num_legs = 2 if upright else int(generator.integers(2, 5))
    num_links = int(generator.integers(2, 4))
    places = np.linspace(0.5, -0.5, num_legs) * (0 if upright else torso)
    footholds = np.linspace(1, -1, num_legs) * _between(
        generator, *((0.2, 0.3) if upright else (0.0, 0.2))
    )
    return [
        _bent_leg(generator, (float(x), aside * (-1) ** index, 0.0), float(foothold), num_links, ())
        for index, (x, foothold) in enumerate(zip(places, footholds, strict=True))
    ]


def _free_legs(
    generator: np.random.Generator, stance: Stance, torso: float, aside: float
) -> list[Leg]:
    """Two or three pairs, left and right mirror images. Six legs have two joints each, four have
    two or three."""
    num_pairs = int(generator.integers(2, 4))
    rolls: tuple[Axis, ...] = ("roll",) if num_pairs == 2 and generator.random() < 0.5 else ()
    fan = _between(generator, 0.5, 1.2)
    legs: list[Leg] = []
    for place in np.linspace(0.5, -0.5, num_pairs).tolist():
        hip = (place * torso, aside, 0.0)
        if stance == "sprawled":
            left = _sprawled_leg(generator, hip, math.pi / 2 - fan * place)
        else:
            left = _bent_leg(generator, hip, 0.0, 2, rolls)
        legs += [left, replace(left, hip=(hip[0], -aside, 0.0), azimuth=-left.azimuth)]
    return legs


def _bent_leg(
    generator: np.random.Generator,
    hip: tuple[float, float, float],
    foothold: float,
    num_links: int,
    sideways: tuple[Axis, ...],
) -> Leg:
    """A leg below its hip, its knee bent forward or back; a third link is a flat foot. foothold:
    where the ground bears it, ahead of the hip, in lengths of the leg without the foot, which this
    is before `_as_tall_as`."""
    bend = _between(generator, 0.2, 0.4) * _one_of(generator, (-1, 1))
    upper, foot = _between(generator, 0.4, 0.55), _between(generator, 0.2, 0.35)
    knee = upper * math.sin(foothold + bend)
    ankle = foothold - (MIDDLE_OF_FOOT * foot if num_links == 3 else 0)
    lower = (ankle - knee) / (1 - upper)
    at_hip: tuple[Axis, ...] = (*sideways, "bend")
    axes: tuple[tuple[Axis, ...], ...] = (at_hip, ("bend",), ("bend",))
    return Leg(
        hip=hip,
        azimuth=0.0,
        lengths=(upper, 1 - upper, foot)[:num_links],
        tilts=(foothold + bend, math.asin(max(-0.95, min(lower, 0.95))), math.pi / 2)[:num_links],
        axes=axes[:num_links],
    )


def _sprawled_leg(
    generator: np.random.Generator, hip: tuple[float, float, float], azimuth: float
) -> Leg:
    """A leg that reaches out and then down, as a spider's."""
    upper = _between(generator, 0.4, 0.6)
    tilts = (_between(generator, 1.3, 1.8), _between(generator, 0.1, 0.5))
    return Leg(hip, azimuth, (upper, 1 - upper), tilts, (("yaw", "bend"), ("bend",)))


def _as_tall_as(leg: Leg, height: float) -> Leg:
    """The leg made longer or shorter, so that its last link ends this far below the hip."""
    reach = sum(
        length * math.cos(tilt) for length, tilt in zip(leg.lengths, leg.tilts, strict=True)
    )
    return replace(leg, lengths=tuple(length * height / reach for length in leg.lengths))


def _capsule_volume(length: float, radius: float) -> float:
    """Cubic metres of a cylinder of this length with half a ball at either end."""
    return math.pi * radius**2 * (length + 4 / 3 * radius)


def _generator(name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"walkers\0{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def _between(generator: np.random.Generator, low: float, high: float) -> float:
    return float(generator.uniform(low, high))


def _one_of(generator: np.random.Generator, choices: Sequence[Choice]) -> Choice:
    return choices[int(generator.integers(len(choices)))]
