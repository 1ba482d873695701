using LoraNotebooks.Data;
using static LoraNotebooks.Tests.Data.DatasetFolder;

namespace LoraNotebooks.Tests.Data;

/// <summary>Scaling, cutting, mirroring and laying out, pixel by pixel on tiny pictures against plain loops in float64.</summary>
public sealed class ImageGeometryTests
{
    [Theory]
    [InlineData(7, 5, 3, 2)]
    [InlineData(7, 5, 1, 1)]
    [InlineData(7, 5, 7, 2)]
    [InlineData(7, 5, 3, 5)]
    [InlineData(6, 4, 3, 2)]
    [InlineData(5, 3, 4, 3)]
    [InlineData(31, 17, 10, 7)]
    public void Resize_Smaller_IsTheMeanOfTheCoveredArea(int fromWidth, int fromHeight, int width, int height)
    {
        var image = Noise(fromWidth, fromHeight);

        AssertNear(image.Resize(width, height), width, height, (x, y, channel) => Mean(image, x, y, width, height, channel), 0.501);
    }

    [Theory]
    [InlineData(4, 3, 8, 6)]
    [InlineData(4, 3, 9, 4)]
    [InlineData(5, 5, 5, 8)]
    [InlineData(2, 2, 3, 3)]
    public void Resize_Larger_IsBicubicByMitchell(int fromWidth, int fromHeight, int width, int height)
    {
        var image = Noise(fromWidth, fromHeight);

        AssertNear(image.Resize(width, height), width, height, (x, y, channel) => Cubic(image, x, y, width, height, channel), 1.01);
    }

    [Theory]
    [InlineData(6, 3, 3, 6)]
    [InlineData(3, 6, 6, 3)]
    public void Resize_OneAxisSmallerTheOtherLarger_IsAveragedAndThenEnlarged(int fromWidth, int fromHeight, int width, int height)
    {
        var image = Noise(fromWidth, fromHeight);
        var (leastWidth, leastHeight) = (Math.Min(fromWidth, width), Math.Min(fromHeight, height));
        var averaged = new byte[3 * leastWidth * leastHeight];
        for (var i = 0; i < averaged.Length; i++)
        {
            averaged[i] = (byte)Math.Round(Mean(image, i / 3 % leastWidth, i / 3 / leastWidth, leastWidth, leastHeight, i % 3));
        }

        var half = new RgbImage(leastWidth, leastHeight, averaged);
        AssertNear(image.Resize(width, height), width, height, (x, y, channel) => Cubic(half, x, y, width, height, channel), 1.51);
    }

    [Fact]
    public void Resize_SizesThatAreNone_AreRefused()
    {
        var image = Noise(2, 2);
        Assert.Throws<ArgumentOutOfRangeException>(() => image.Resize(0, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => image.Resize(1, 0));
        Assert.Equal(image.Pixels.ToArray(), image.Resize(2, 2).Pixels.ToArray());
    }

    [Theory]
    [InlineData(0, 0, 4, 3, true)]
    [InlineData(3, 2, 1, 1, true)]
    [InlineData(1, 1, 2, 2, true)]
    [InlineData(-1, 0, 1, 1, false)]
    [InlineData(0, -1, 1, 1, false)]
    [InlineData(0, 0, 0, 1, false)]
    [InlineData(0, 0, 1, 0, false)]
    [InlineData(1, 0, 4, 1, false)]
    [InlineData(0, 1, 1, 3, false)]
    public void Crop_Part_IsThosePixelsOrLiesOutside(int x, int y, int width, int height, bool isInside)
    {
        var image = Noise(4, 3);
        if (!isInside)
        {
            Assert.Contains(
                $"The crop x {x}, y {y}, {width}×{height} lies outside the image of 4×3.",
                Assert.Throws<ArgumentOutOfRangeException>(() => image.Crop(x, y, width, height)).Message);
            return;
        }

        AssertNear(image.Crop(x, y, width, height), width, height, (column, row, channel) => Channel(image, x + column, y + row, channel), 0);
    }

    [Fact]
    public void Mirror_EveryPixel_ChangesSides() =>
        AssertNear(Noise(5, 3).Mirror(), 5, 3, static (x, y, channel) => Channel(Noise(5, 3), 4 - x, y, channel), 0);

    // Pictures of 6×5, 1×4 and 3×1 in cells of 6×5; the columns asked for and those there are, and the padding.
    [Theory]
    [InlineData(null, 2, 2)]
    [InlineData(1, 1, 0)]
    [InlineData(2, 2, 1)]
    [InlineData(3, 3, 3)]
    [InlineData(8, 3, 1)]
    public void Grid_Pictures_LieInTheMiddleOfTheirCells(int? columns, int across, int padding)
    {
        RgbImage[] images = [Noise(6, 5), Noise(1, 4), Noise(3, 1)];
        var down = (int)Math.Ceiling(3.0 / across);
        var (width, height) = (padding + across * (6 + padding), padding + down * (5 + padding));

        AssertNear(RgbImage.Grid(images, columns, padding), width, height, (x, y, channel) =>
        {
            for (var i = 0; i < images.Length; i++)
            {
                var left = padding + i % across * (6 + padding) + (6 - images[i].Width) / 2;
                var top = padding + i / across * (5 + padding) + (5 - images[i].Height) / 2;
                if (x >= left && x < left + images[i].Width && y >= top && y < top + images[i].Height)
                {
                    return Channel(images[i], x - left, y - top, channel);
                }
            }

            return 255;
        }, 0);
    }

    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(2, 2, 1)]
    [InlineData(4, 2, 2)]
    [InlineData(5, 3, 2)]
    [InlineData(9, 3, 3)]
    [InlineData(10, 4, 3)]
    public void Grid_WithoutColumns_IsAboutSquare(int count, int across, int down)
    {
        var grid = RgbImage.Grid([.. Enumerable.Range(0, count).Select(static _ => Flat(1, 1, 0, 0, 0))]);
        Assert.Equal((2 + 3 * across, 2 + 3 * down), (grid.Width, grid.Height));
    }

    [Fact]
    public void Grid_NumbersThatAreNone_AreRefused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(static () => RgbImage.Grid([Noise(1, 1)], 0));
        Assert.Throws<ArgumentOutOfRangeException>(static () => RgbImage.Grid([Noise(1, 1)], padding: -1));
        Assert.Contains("needs one image or more, got none", Assert.Throws<ArgumentException>(static () => RgbImage.Grid([])).Message);
    }

    [Theory]
    [InlineData(2, 1, 6, true)]
    [InlineData(2, 1, 7, false)]
    [InlineData(2, 1, 5, false)]
    [InlineData(0, 1, 0, false)]
    [InlineData(1, 0, 0, false)]
    [InlineData(-1, -1, 3, false)]
    public void Image_Bytes_AreThreeForEachPixel(int width, int height, int bytes, bool isOne)
    {
        if (isOne)
        {
            Assert.Equal(bytes, new RgbImage(width, height, new byte[bytes]).Pixels.Length);
            return;
        }

        Assert.Contains(
            $"An image of {width}×{height} needs {3 * width * height} bytes, got {bytes}.",
            Assert.Throws<ArgumentException>(() => new RgbImage(width, height, new byte[bytes])).Message);
    }

    /// <summary>Bytes that look drawn by lot and are the same every time.</summary>
    private static RgbImage Noise(int width, int height)
    {
        var pixels = new byte[3 * width * height];
        new Random(100 * width + height).NextBytes(pixels);
        return new RgbImage(width, height, pixels);
    }

    private static double Channel(RgbImage image, int x, int y, int channel) => image.Pixels[3 * (y * image.Width + x) + channel];

    private static void AssertNear(RgbImage image, int width, int height, Func<int, int, int, double> expected, double tolerance)
    {
        Assert.Equal((width, height), (image.Width, image.Height));
        for (var y = 0; y < height; y++)
        {
            for (var x = 0; x < width; x++)
            {
                for (var channel = 0; channel < 3; channel++)
                {
                    Assert.Equal(expected(x, y, channel), Channel(image, x, y, channel), tolerance);
                }
            }
        }
    }

    /// <summary>The mean of the rectangle that a new pixel covers, old pixels counted by the part of them within.</summary>
    private static double Mean(RgbImage image, int x, int y, int width, int height, int channel)
    {
        var (stepX, stepY) = ((double)image.Width / width, (double)image.Height / height);
        var sum = 0.0;
        for (var row = 0; row < image.Height; row++)
        {
            for (var column = 0; column < image.Width; column++)
            {
                var across = Math.Min((x + 1) * stepX, column + 1) - Math.Max(x * stepX, column);
                var down = Math.Min((y + 1) * stepY, row + 1) - Math.Max(y * stepY, row);
                sum += across > 0 && down > 0 ? across * down * Channel(image, column, row, channel) : 0;
            }
        }

        return sum / (stepX * stepY);
    }

    /// <summary>Mitchell and Netravali's cubic with B = C = 1/3 around the pixel's middle; beyond the edge stand the pixels of the edge.</summary>
    private static double Cubic(RgbImage image, int x, int y, int width, int height, int channel)
    {
        var (middleX, middleY) = ((x + 0.5) * image.Width / width - 0.5, (y + 0.5) * image.Height / height - 0.5);
        var sum = 0.0;
        for (var row = (int)Math.Floor(middleY) - 1; row <= (int)Math.Floor(middleY) + 2; row++)
        {
            for (var column = (int)Math.Floor(middleX) - 1; column <= (int)Math.Floor(middleX) + 2; column++)
            {
                var (atX, atY) = (Math.Clamp(column, 0, image.Width - 1), Math.Clamp(row, 0, image.Height - 1));
                sum += Weight(middleX - column) * Weight(middleY - row) * Channel(image, atX, atY, channel);
            }
        }

        return Math.Clamp(sum, 0, 255);

        static double Weight(double distance)
        {
            var d = Math.Abs(distance);
            return d < 1 ? (7 * d * d * d - 12 * d * d + 16.0 / 3) / 6 : d < 2 ? (-7.0 / 3 * d * d * d + 12 * d * d - 20 * d + 32.0 / 3) / 6 : 0;
        }
    }
}
