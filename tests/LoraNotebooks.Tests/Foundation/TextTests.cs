namespace LoraNotebooks.Tests.Foundation;

/// <summary>Sizes and shapes for people.</summary>
public sealed class TextTests
{
    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(999, "999 B")]
    [InlineData(1_000, "1.0 kB")]
    [InlineData(4_321, "4.3 kB")]
    [InlineData(999_949, "999.9 kB")]
    [InlineData(999_950, "1.0 MB")]
    [InlineData(12_000_000, "12.0 MB")]
    [InlineData(999_949_999, "999.9 MB")]
    [InlineData(999_950_000, "1.00 GB")]
    [InlineData(3_438_000_000, "3.44 GB")]
    [InlineData(4_000_000_000_000, "4000.00 GB")]
    public void ByteSize_OfASize_HasTheUnitThatFits(long bytes, string expected) => Assert.Equal(expected, ByteSize.Text(bytes));

    [Fact]
    public void Shapes_OfSizes_AreWrittenAsPyTorchDoes()
    {
        Assert.Equal("[1, 4, 64, 64]", Shapes.Text([1, 4, 64, 64]));
        Assert.Equal("[]", Shapes.Text([]));
    }
}
