"""The MuJoCo model of a walker's morphology, as MJCF."""

from __future__ import annotations

import colorsys
import math
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from manyparts.envs.suites.walkers_morphologies import GRAVITY, HEEL, Axis, Joint, Leg, Morphology

SECONDS_PER_SUBSTEP = 0.008
CAMERA = "side"
SPEED_SENSOR = "centre_of_mass_velocity"


def to_mjcf(morphology: Morphology) -> str:
    """The model as XML.

    Every frame is aligned with the world's in the standing pose, where all joints are at 0
    but the root's.

    Limbs touch the floor, but not each other. A planar root has the joints root_x, root_z (metres)
    and root_pitch (about y, positive forward); a free one has a position and a quaternion.
    """
    root = Element("mujoco", model=morphology.name)
    SubElement(
        root,
        "option",
        timestep=str(SECONDS_PER_SUBSTEP),
        integrator="implicitfast",
        gravity=_text(0, 0, -GRAVITY),
    )
    _add_looks(root, morphology)
    default = SubElement(root, "default")
    SubElement(
        default,
        "geom",
        contype="1",
        conaffinity="0",
        friction=_text(morphology.friction, 0.05, 0.001),
    )
    world = SubElement(root, "worldbody")
    SubElement(
        world, "light", directional="true", pos="0 0 4", dir="0.3 0.5 -1", diffuse="0.7 0.7 0.7"
    )
    SubElement(
        world,
        "geom",
        name="floor",
        type="plane",
        size="0 0 1",
        material="floor",
        contype="0",
        conaffinity="1",
    )
    torso = _add_torso(world, morphology)
    actuators = SubElement(root, "actuator")
    for index, leg in enumerate(morphology.legs):
        _add_leg(torso, actuators, morphology, index, leg)
    SubElement(SubElement(root, "sensor"), "subtreelinvel", name=SPEED_SENSOR, body="torso")
    return ElementTree.tostring(root, encoding="unicode")


def _add_looks(root: Element, morphology: Morphology) -> None:
    asset = SubElement(root, "asset")
    SubElement(
        asset,
        "texture",
        type="skybox",
        builtin="gradient",
        rgb1="0.7 0.8 0.9",
        rgb2="1 1 1",
        width="64",
        height="64",
    )
    SubElement(
        asset,
        "texture",
        name="tiles",
        type="2d",
        builtin="checker",
        width="64",
        height="64",
        rgb1="0.45 0.5 0.55",
        rgb2="0.6 0.65 0.7",
    )
    SubElement(asset, "material", name="floor", texture="tiles", texrepeat="1 1", texuniform="true")
    for name, saturation, value in (("torso", 0.6, 0.85), ("near", 0.5, 0.95), ("far", 0.7, 0.55)):
        colour = colorsys.hsv_to_rgb(morphology.hue, saturation, value)
        SubElement(asset, "material", name=name, rgba=_text(*colour, 1))


def _add_torso(world: Element, morphology: Morphology) -> Element:
    torso = SubElement(world, "body", name="torso", pos=_text(0, 0, morphology.hips_height))
    _add_camera(torso, distance=1.8 * max(_height(morphology), _length(morphology)))
    if morphology.kind == "free":
        SubElement(torso, "freejoint", name="root")
    else:
        SubElement(torso, "joint", name="root_x", type="slide", axis="1 0 0")
        SubElement(
            torso,
            "joint",
            name="root_z",
            type="slide",
            axis="0 0 1",
            ref=_text(morphology.hips_height),
        )
        SubElement(torso, "joint", name="root_pitch", type="hinge", axis="0 1 0")
    upright = morphology.stance == "upright"
    rear, front = (
        ((0, 0, 0), (0, 0, morphology.torso))
        if upright
        else ((-morphology.torso / 2, 0, 0), (morphology.torso / 2, 0, 0))
    )
    _add_capsule(torso, "torso", rear, front, morphology.torso_radius, morphology.density, "torso")
    eye = (front[0] + morphology.torso_radius * 0.8, 0, front[2] + morphology.torso_radius * 0.5)
    SubElement(
        torso,
        "geom",
        type="sphere",
        size=_text(0.5 * morphology.torso_radius),
        pos=_text(*eye),
        mass="0",
        contype="0",
        rgba="0.1 0.1 0.1 1",
    )
    return torso


def _height(morphology: Morphology) -> float:
    """Height in metres that an image must show, with the centre of mass in its middle."""
    # The centre of mass is about half way up an upright torso, and near the hips of a level one.
    return (
        morphology.hips_height + morphology.torso
        if morphology.stance == "upright"
        else 1.7 * morphology.hips_height
    )


def _length(morphology: Morphology) -> float:
    """Length or width when standing, metres, whichever is larger."""
    reaches = [
        (*leg.hip[:2], leg.reach(0) * math.cos(leg.azimuth), leg.reach(0) * math.sin(leg.azimuth))
        for leg in morphology.legs
    ]
    along = max(abs(x + forward) for x, _, forward, _ in reaches)
    across = max(abs(y + left) for _, y, _, left in reaches)
    return 2 * max(along, across)


def _add_camera(torso: Element, distance: float) -> None:
    """Add a camera that follows the centre of mass from the side, a little ahead and above."""
    azimuth, elevation = math.radians(20), math.radians(15)
    offset = (
        math.sin(azimuth) * math.cos(elevation),
        -math.cos(azimuth) * math.cos(elevation),
        math.sin(elevation),
    )
    right = (math.cos(azimuth), math.sin(azimuth), 0.0)
    up = (
        -math.sin(azimuth) * math.sin(elevation),
        math.cos(azimuth) * math.sin(elevation),
        math.cos(elevation),
    )
    SubElement(
        torso,
        "camera",
        name=CAMERA,
        mode="trackcom",
        pos=_text(*(distance * part for part in offset)),
        xyaxes=_text(*right, *up),
        fovy="45",
    )


def _add_leg(
    torso: Element, actuators: Element, morphology: Morphology, index: int, leg: Leg
) -> None:
    """Add a chain of links with joints and motors, named leg0_0, leg0_0_bend and so on."""
    parent, offset = torso, leg.hip
    for link, (length, tilt, axes) in enumerate(zip(leg.lengths, leg.tilts, leg.axes, strict=True)):
        name = f"leg{index}_{link}"
        parent = SubElement(parent, "body", name=name, pos=_text(*offset))
        for axis in axes:
            _add_joint(
                parent, actuators, f"{name}_{axis}", morphology.joint(leg, link, axis), leg.azimuth
            )
        along = (
            math.sin(tilt) * math.cos(leg.azimuth),
            math.sin(tilt) * math.sin(leg.azimuth),
            -math.cos(tilt),
        )
        offset = (length * along[0], length * along[1], length * along[2])
        heel = -HEEL * offset[0] if link == 2 else 0.0
        toe = (offset[0] + heel, offset[1], offset[2])
        looks = "near" if leg.hip[1] < 0 else "far"
        _add_capsule(
            parent, name, (heel, 0, 0), toe, morphology.leg_radius, morphology.density, looks
        )


def _add_joint(
    parent: Element, actuators: Element, name: str, joint: Joint, azimuth: float
) -> None:
    SubElement(
        parent,
        "joint",
        name=name,
        type="hinge",
        axis=_text(*_direction(joint.axis, azimuth)),
        limited="true",
        range=_text(-math.degrees(joint.turn), math.degrees(joint.turn)),
        damping=_text(joint.damping),
        stiffness=_text(joint.stiffness),
        springref=_text(math.degrees(joint.rest)),
        armature=_text(joint.armature),
    )
    SubElement(
        actuators,
        "motor",
        name=name,
        joint=name,
        gear=_text(joint.torque),
        ctrllimited="true",
        ctrlrange="-1 1",
    )


def _direction(axis: Axis, azimuth: float) -> tuple[float, float, float]:
    """The joint's axis; a positive bend swings the link's end forward along the azimuth."""
    if axis == "bend":
        return (math.sin(azimuth), -math.cos(azimuth), 0.0)
    return (1.0, 0.0, 0.0) if axis == "roll" else (0.0, 0.0, 1.0)


def _add_capsule(
    parent: Element,
    name: str,
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radius: float,
    density: float,
    looks: str,
) -> None:
    SubElement(
        parent,
        "geom",
        name=name,
        type="capsule",
        fromto=_text(*start, *end),
        size=_text(radius),
        density=_text(density),
        material=looks,
    )


def _text(*numbers: float) -> str:
    """Numbers for MJCF, exact to the last bit."""
    return " ".join(repr(float(number)) for number in numbers)
