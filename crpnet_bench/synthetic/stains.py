"""From dye concentrations to colour, as a bright-field scanner sees it.

A pixel holds how much haematoxylin, eosin and blood pigment lies in the light path; each dye
takes its share of red, green and blue light (Beer-Lambert law, Ruifrok & Johnston 2001,
Anal Quant Cytol Histol 23:291). A laboratory's stain is then a handful of numbers, and the same
drawn tissue can be shown in any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GLASS", "Stain"]

GLASS = (243.0, 242.0, 244.0)
"""Red, green and blue of empty glass, in grey levels."""

# Optical density of one unit of each dye in red, green and blue, chosen by eye to look like
# scanned kidney sections: navy nuclei, pink cytoplasm, scarlet erythrocytes.
_HAEMATOXYLIN = np.array([0.90, 1.15, 0.62], dtype=np.float32)
_EOSIN = np.array([0.17, 0.88, 0.50], dtype=np.float32)
_BLOOD = np.array([0.22, 1.70, 1.45], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Stain:
    """How strongly, and in which hue, a laboratory stains.

    Args:
        haematoxylin: strength of the blue-purple nuclear dye; 1 is average.
        eosin: strength of the pink dye; 1 is average.
        warmth: shift of eosin from bluish pink (negative) to orange (positive), about -0.1..0.1.
        thickness: of the section, scales all dyes; 1 is average.
    """

    haematoxylin: float = 1.0
    eosin: float = 1.0
    warmth: float = 0.0
    thickness: float = 1.0

    def densities(self) -> NDArray[np.float32]:
        """Optical density of a unit of haematoxylin, eosin and blood: (3 dyes, 3 channels)."""
        warm = np.array([-0.5, 0.0, 1.0], dtype=np.float32) * np.float32(self.warmth)
        dyes = np.stack([self.haematoxylin * _HAEMATOXYLIN, self.eosin * (_EOSIN + warm), _BLOOD])
        return np.asarray(self.thickness * np.maximum(dyes, 0), dtype=np.float32)

    def colour(
        self,
        haematoxylin: NDArray[np.float32],
        eosin: NDArray[np.float32],
        blood: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Grey levels of red, green and blue.

        Args:
            haematoxylin: concentrations, any shape (...).
            eosin: the same shape.
            blood: the same shape.

        Returns:
            (..., 3), in 0..255.
        """
        densities = self.densities()
        light = np.empty((*haematoxylin.shape, 3), dtype=np.float32)
        for channel in range(3):
            absorbed = haematoxylin * densities[0, channel]
            absorbed += eosin * densities[1, channel]
            absorbed += blood * densities[2, channel]
            np.negative(absorbed, out=absorbed)
            np.exp(absorbed, out=absorbed)
            absorbed *= np.float32(GLASS[channel])
            light[..., channel] = absorbed
        return light
