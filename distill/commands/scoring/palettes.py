"""Class lists of public data sets, and how their files write them."""

from __future__ import annotations

CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
CITYSCAPES_IDS = {
    stored: index
    for index, stored in enumerate((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33))
}
"""``labelIds`` to the 19 classes that are scored; every other id is ignored."""

CAMVID = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
)  # fmt: skip
"""The 11 classes of SegNet, which most papers score."""
CAMVID_COLORS = {
    (128, 128, 128): 0,  # Sky
    (128, 0, 0): 1, (64, 192, 0): 1, (0, 128, 64): 1, (64, 0, 64): 1, (192, 0, 128): 1,
    # Building Wall Bridge Tunnel Archway
    (192, 192, 128): 2, (0, 0, 64): 2,  # Column_Pole TrafficCone
    (128, 64, 128): 3, (128, 0, 192): 3, (192, 0, 64): 3,  # Road LaneMkgsDriv LaneMkgsNonDriv
    (0, 0, 192): 4, (64, 192, 128): 4, (128, 128, 192): 4,  # Sidewalk ParkingBlock RoadShoulder
    (128, 128, 0): 5, (192, 192, 0): 5,  # Tree VegetationMisc
    (192, 128, 128): 6, (128, 128, 64): 6, (0, 64, 64): 6,  # SignSymbol Misc_Text TrafficLight
    (64, 64, 128): 7,  # Fence
    (64, 0, 128): 8, (64, 128, 192): 8, (192, 128, 192): 8, (192, 64, 128): 8, (128, 64, 64): 8,
    # Car SUVPickupTruck Truck_Bus Train OtherMoving
    (64, 64, 0): 9, (192, 128, 64): 9, (64, 0, 192): 9, (64, 128, 64): 9,  # Pedestrian Child CartLuggagePram Animal
    (0, 128, 192): 10, (192, 0, 192): 10,  # Bicyclist MotorcycleScooter
}  # fmt: skip
"""The official 32 colors to SegNet's 11 classes; black is void."""
