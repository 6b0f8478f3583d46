"""Morphologies of walkers, drawn from their names: torso, legs, masses, joints, motors; numpy only.

There are three universes (train, validation, test) of two kinds (planar, free), each unlimited.
"test-free-0003" is number 3 of the test universe's free walkers, the same in every process.
Universes are disjoint: the plane of (length of the torso, height of the hips) is cut into cells of
5 mm, and each cell belongs to one universe, as with goals and splits (`goals.split_of`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
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
# The target speed is that of a brisk walk at any size: v^2 / (g * height of the hips), the Froude
# number.
FROUDE = 0.25
# A joint's torque and range relative to the hip's bend: along the leg, and for a hip's roll or yaw.
TORQUE_ALONG_LEG = (1.0, 0.8, 0.4)
HEEL = 0.3  # fraction of a foot that is behind the ankle
MIDDLE_OF_FOOT = 0.5 - HEEL
TURN_ALONG_LEG = (1.0, 1.0, 0.7)
SIDEWAYS = 0.5


@dataclass(frozen=True)
class Leg:
    """A leg: a chain of capsules."""

    hip: tuple[float, float, float]
    """Position in the torso's frame, metres (x forward, y left, z up)."""

    azimuth: float
    """Direction of the vertical plane in which it bends, radians; 0 is forward."""

    lengths: tuple[float, ...]
    """Lengths of the links from the hip down, metres."""

    tilts: tuple[float, ...]
    """Angles of the links from straight down towards the azimuth when standing, radians."""

    axes: tuple[tuple[Axis, ...], ...]
    """Axes of the joints that connect each link to the one before."""

    def reach(self, link: int) -> float:
        """Distance along the azimuth from a link's joint to where the ground supports the leg.

        In metres, when standing. A third link is a foot, which is supported at its middle.
        """
        forward = [
            length * math.sin(tilt) for length, tilt in zip(self.lengths, self.tilts, strict=True)
        ]
        forward[2:] = [MIDDLE_OF_FOOT * length for length in self.lengths[2:]]
        return sum(forward[link:])


@dataclass(frozen=True)
class Muscles:
    """What all joints of a morphology have in common, in units of its size."""

    torque: float
    """Torque of a hip's motor at full control, in weight times height of the torso's middle."""

    spring: float
    """Stiffness of a joint's spring, in the motor's torque per radian."""

    free_speed: float
    """Speed that a motor reaches without load, against the joint's friction, rad/s."""

    rotor_seconds: float
    """Time constant with which a motor without a leg reaches that speed, seconds."""

    turn: float
    """Range of a hip to either side, radians."""


@dataclass(frozen=True)
class Joint:
    """A hinge with a motor and a spring."""

    axis: Axis
    """Axis: "bend" in the leg's plane, "roll" about the torso's forward axis, "yaw" about its
    vertical axis."""

    turn: float
    """Range to either side, radians."""

    torque: float
    """Torque at full control, N m."""

    stiffness: float
    """Stiffness of the spring, N m per radian."""

    rest: float
    """Angle at which the spring is slack, radians."""

    damping: float
    """Damping, N m s per radian."""

    armature: float
    """Inertia of the rotor, kg m^2."""


@dataclass(frozen=True)
class Morphology:
    """The build of a walker."""

    name: str
    """Such as "train-planar-0017"."""

    kind: Kind
    """Kind: "planar" for movement in a vertical plane, or "free"."""

    stance: Stance
    """Stance: "upright" for a torso that stands on its hips; "level" or "sprawled" for one that
    lies."""

    torso: float
    """Length of the torso, metres."""

    hips_height: float
    """Height of the hips when standing, metres."""

    torso_radius: float
    """Metres."""

    leg_radius: float
    """Metres."""

    density: float
    """kg/m^3."""

    friction: float
    """Coefficient of friction of all capsules."""

    hue: float
    """Hue of its colour, 0 to 1."""

    muscles: Muscles
    """What its joints have in common."""

    legs: tuple[Leg, ...]
    """Its legs, from front to rear."""

    @property
    def centre(self) -> float:
        """Metres from the floor to the middle of the torso, standing."""
        return self.hips_height + (self.torso / 2 if self.stance == "upright" else 0)

    @property
    def speed(self) -> float:
        """The target speed, m/s."""
        return math.sqrt(FROUDE * GRAVITY * self.hips_height)

    @cached_property
    def mass(self) -> float:
        """Kilograms, of all capsules."""
        lengths = chain.from_iterable(leg.lengths for leg in self.legs)
        legs = sum(_capsule_volume(length, self.leg_radius) for length in lengths)
        return self.density * (legs + _capsule_volume(self.torso, self.torso_radius))

    def joint(self, leg: Leg, link: int, axis: Axis) -> Joint:
        """The joint at the upper end of a link.

        Args:
            leg: one of `legs`.
            link: the index of the leg's link; link 0 is at the hip.
            axis: the axis that the joint turns about.
        """
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
        """Torque at a link's joint when standing, N m.

        The ground supports an equal fraction of the weight at each foot; the weight of the leg's
        own links below the joint acts against it.
        """
        ground, at, links = self.mass / len(self.legs) * leg.reach(link), 0.0, 0.0
        parts = zip(leg.lengths[link:], leg.tilts[link:], strict=True)
        for number, (length, tilt) in enumerate(parts, start=link):
            along = length * math.sin(tilt)
            # Where the link's centre is, as a fraction of its length from its joint.
            middle = MIDDLE_OF_FOOT if number == 2 else 0.5
            links += self.density * _capsule_volume(length, self.leg_radius) * (at + middle * along)
            at += along
        return GRAVITY * (ground - links)


def is_morphology(name: str) -> bool:
    """Whether this names a morphology, such as "train-planar-0017" with four digits or more."""
    match = re.fullmatch(rf"({'|'.join(UNIVERSES)})-({'|'.join(KINDS)})-(\d+)", name, re.ASCII)
    return match is not None and match[3] == f"{int(match[3]):04d}"


def draw_morphology(name: str) -> Morphology:
    """The morphology of this name, a pure function of it.

    Raises:
        ValueError: it is not a name of one, see `is_morphology`.
    """
    if not is_morphology(name):
        raise ValueError(f"{name!r} is no morphology; expected a name such as train-planar-0017")
    universe, word, _ = name.split("-")
    kind: Kind = "planar" if word == "planar" else "free"
    generator = _generator(name)
    stance = _one_of(generator, STANCES[kind])
    while True:  # a cell belongs to the universe with probability 0.7, 0.1 or 0.2
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
    """Two to four legs in a row; an upright torso has two, one set forward and one back."""
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
    """Two or three pairs, left and right mirror images, of two or three joints each."""
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
    """A leg below its hip, with a knee bent forward or back; a third link is a flat foot.

    The leg without the foot has length 1 here; `_as_tall_as` scales it. `foothold` is how far ahead
    of the hip the ground supports it, in that unit.
    """
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
    """A leg that reaches out and then down, like a spider's."""
    upper = _between(generator, 0.4, 0.6)
    tilts = (_between(generator, 1.3, 1.8), _between(generator, 0.1, 0.5))
    return Leg(hip, azimuth, (upper, 1 - upper), tilts, (("yaw", "bend"), ("bend",)))


def _as_tall_as(leg: Leg, height: float) -> Leg:
    """The leg scaled so that its last link ends this far below the hip."""
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
