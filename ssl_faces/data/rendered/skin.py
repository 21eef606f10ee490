"""The face on the head's skin: relief, mouth, eyes, brows and beard in the frontal plane."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_faces.data.rendered.head import Head
from ssl_faces.data.rendered.paint import (
    DARK,
    IRIS,
    LIPS,
    WHITE,
    bump,
    colour_of,
    edge,
    over,
    palette,
)


def face_colours(
    head: Head,
    skin: Tensor,
    hair: Tensor,
    u: Tensor,
    skin_v: Tensor,
    front: Tensor,
    shade: Tensor,
    pixel: Tensor,
) -> Tensor:
    """Colours [N, 3, S, S] of the head's skin at (u, skin_v) of the frontal plane."""
    f = head.factors
    v = torch.where(front, skin_v, 9.0)  # no second face on the back of the head
    au = u.abs()

    # Relief that darkens or lightens the skin.
    ex = (au - head.eye_x) / head.eye_w
    ey = v - head.eye_y
    tone = 1 - 0.16 * bump(ex * ex * 0.35 + (ey - 0.06) * (ey - 0.06) / 0.034)
    folded = 0.10 + 0.32 * f["lip_corner_pull"] + 0.40 * f["nose_wrinkle"]
    along = (head.tip_y - v) / (head.tip_y - head.mouth_y)
    fold_x = head.nose_w * 1.15 + (head.mouth_w * 1.18 - head.nose_w * 1.15) * along
    fold = (au - fold_x) / 0.045
    tone -= folded * bump(fold * fold + (along - 0.5) * (along - 0.5) * 2.2)
    frown = (au - 0.055) / 0.030
    between = (v - head.brow_y + 0.01) / 0.12
    tone -= 0.42 * f["brow_lower"] * bump(frown * frown + between * between)
    wrinkle = (v - head.eye_y + 0.02) / 0.035
    beside = (au - 0.13) / 0.07
    tone -= 0.40 * f["nose_wrinkle"] * bump(wrinkle * wrinkle + beside * beside)
    pouch = (v - head.eye_y + 0.15 - 0.02 * f["cheek_raise"]) / 0.035
    tone -= (0.05 + 0.22 * f["cheek_raise"]) * bump(pouch * pouch + ex * ex * 0.8)
    chin = (v - head.mouth_y + 0.17 + head.gap_low) / 0.05
    tone -= 0.14 * bump(chin * chin + au * au / 0.03)
    brow_wrinkle = ((v - head.brow_y - head.brow_in - 0.06).remainder(0.11) - 0.055).abs() / 0.022
    raised = 0.5 * (f["inner_brow_raise"] + f["outer_brow_raise"])
    forehead = (v - head.brow_y - 0.28) / 0.16
    tone -= (
        0.20
        * raised
        * bump(brow_wrinkle * brow_wrinkle)
        * bump(forehead * forehead + au * au / 0.2)
    )

    # Mouth.
    m = (u / head.mouth_w).clamp(-1, 1)
    outer_up, inner_up, inner_low, outer_low = head.lips(m)
    beyond = au - head.mouth_w
    mouth = edge(torch.maximum(torch.maximum(v - outer_up, outer_low - v), beyond), pixel)
    inside = torch.maximum(v - inner_up, inner_low - v)
    line = 0.016 + 0.010 * f["lip_tighten"]
    open_mouth = edge(torch.maximum(inside - line, beyond - 0.01), pixel)
    bared = (1 - 0.85 * f["jaw_drop"]) * 0.085 + 0.02
    biting = torch.maximum(torch.maximum(inside + 0.006, inner_up - bared - v), beyond)
    biting = edge(biting, pixel) * edge(0.02 - head.gap_up - head.gap_low, pixel)
    tongue = ((v - inner_low) / (0.02 + 0.55 * head.gap_low)).clamp_(0, 1)
    tongue = (1 - tongue) * (0.75 * f["jaw_drop"])

    # Eyes.
    up, low = head.lids(ex.clamp(-1, 1))
    lid = torch.maximum(v - up, low - v)
    corner = (ex.abs() - 1) * head.eye_w
    eye = edge(torch.maximum(lid, corner), pixel)
    shift = f["gaze"] * head.eye_w
    ix = au - head.eye_x - torch.where(u < 0, -shift, shift)
    iris_2 = ix * ix + ey * ey
    iris = edge((iris_2 - head.iris**2) * (0.5 / head.iris), pixel) * eye
    pupil = edge((iris_2 - 0.032**2) * (0.5 / 0.032), pixel) * eye
    lash = edge(torch.maximum((v - up).abs() - 0.020, corner - 0.015), pixel)

    # Hair on the face.
    s = ((au - head.brow_from) / head.brow_length).clamp(-0.2, 1.2)
    thick = f["brow_thickness"] * (1.1 - 0.5 * s)
    ends = torch.maximum(-s, s - 1) * head.brow_length
    brow = edge(torch.maximum((v - head.brow(s)).abs() - thick, ends), pixel)
    jaw_line = u * u / 0.22 + (skin_v - 0.02) * (skin_v - 0.02) / 0.34
    beard = (
        ((jaw_line - 0.85) * 1.8).clamp_(0, 1) * ((0.12 - skin_v) * 2.2).clamp_(0, 1) * f["beard"]
    )
    above = (v - outer_up - 0.055) / 0.055
    moustache = bump((above * above + u * u / (0.05 + head.mouth_w * head.mouth_w)) * 0.55)
    whiskers = torch.maximum(beard * 0.85, moustache * f["moustache"] * 1.2)

    tone = tone * shade
    face = over(skin * tone[:, None], hair * shade[:, None], whiskers.clamp_(max=1))
    lips = palette(LIPS, f["lip_tone"].flatten()) * (0.35 + 0.65 * skin)
    face = over(face, lips * shade[:, None], mouth)
    dark = open_mouth * (1 - biting) * (1 - tongue)
    white = torch.maximum(eye, biting)
    soft_shade = shade * 0.6 + 0.4
    face = over(face, colour_of(WHITE, u.device) * soft_shade[:, None], white)
    face = over(face, palette(IRIS, f["iris_tone"].flatten()) * soft_shade[:, None], iris)
    face = over(face, colour_of(DARK, u.device), torch.maximum(torch.maximum(pupil, lash), dark))
    return over(face, hair * (0.75 * shade)[:, None], brow)
