"""What a picture is called by its name, where it does not support the speaker's sentence: things that a camera may see and the
embedding knows (most are names of the pool's pictures or of ImageNet's classes, or kinds of these). The runtime takes the one
that scores highest among all of them, if that is one half or more. Words of two meanings are left out. One prompt and not the
four of labels: a slow board has to embed them all before the first name.
"""

NAME_PROMPT = "a photo of {}."

NAMES = """a person, a crowd of people, a baby, a hand, a dog, a cat, a kitten, a bird, a parrot, a duck, a chicken, an owl, a horse, a
cow, a sheep, a pig, a goat, a deer, an elephant, a zebra, a giraffe, a bear, a panda, a lion, a tiger, a leopard, a wolf, a
fox, a monkey, an ape, a rabbit, a squirrel, a hedgehog, a whale, a shark, a fish, a jellyfish, a crab, a lobster, a snail, a
turtle, a frog, a lizard, a snake, a crocodile, a spider, a butterfly, a bee, a beetle, an ant, a flower, a plant in a pot, a
tree, a forest, a mushroom, grass, leaves, a garden, a fruit, an apple, a banana, an orange, a lemon, a strawberry,
vegetables, a cauliflower, a cucumber, bread, a pizza, a hamburger, a hot dog, a sandwich, a cake, ice cream, a plate of food,
soup, a cup of coffee, a cup, a glass of wine, a bottle, a bowl, a pot, a pan, a knife, a spoon, a car, a truck, a van, a bus,
a train, a tram, a bicycle, a motorcycle, a tractor, an ambulance, a fire engine, an aeroplane, a helicopter, a rocket, a
boat, a sailing boat, a ship, a street, a road, a traffic light, a sign, a bridge, a building, a skyscraper, a house, a
church, a temple, a castle, a tower, a shop, a market, a restaurant, a library, a stadium, a playground, a parking lot, a
railway, a harbour, a beach, the sea, a lake, a river, a waterfall, a mountain, a valley, a desert, a field, snow, the sky,
clouds, the night sky, fire, a room, a kitchen, a bedroom, a bathroom, a living room, an office, a classroom, a corridor,
stairs, a window, a door, a wall, a fence, a roof, a floor, a chair, a sofa, a table, a desk, a bed, a shelf, a cupboard, a
wardrobe, a lamp, a candle, a mirror, a curtain, a clock, a book, a newspaper, a box, a basket, a bag, a backpack, a suitcase,
an umbrella, clothes, a shirt, a dress, a coat, a hat, shoes, a mask, a pair of glasses, a watch, a toy, a teddy bear, a doll,
a ball, a guitar, a piano, a violin, a drum, a trumpet, a computer, a laptop, a keyboard, a computer mouse, a screen, a
television, a telephone, a camera, a loudspeaker, a radio, a microphone, a printer, a refrigerator, a washing machine, a
microwave oven, a stove, a sink, a bathtub, a toilet, a vacuum cleaner, a tool, a hammer, a screwdriver, a drill, a saw, an
axe, a gun, a machine, an engine, a wheel, a cannon, a tent, a flag, a balloon, a statue, a fountain, a painting, a coin, a
key, a lock, a pen, scissors, a rope, a chain, a ladder, a dumbbell, a swimming pool""".replace("\n", " ").split(", ")
