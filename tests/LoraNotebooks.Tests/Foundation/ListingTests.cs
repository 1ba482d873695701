namespace LoraNotebooks.Tests.Foundation;

/// <summary>Many names in one message, and notices on the error stream.</summary>
public sealed class ListingTests
{
    [Theory]
    [InlineData(0, "")]
    [InlineData(1, "1")]
    [InlineData(9, "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    [InlineData(10, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")]
    [InlineData(11, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, and 1 more")]
    [InlineData(250, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, and 240 more")]
    public void Inline_Items_AreTenAtMostAndACount(int count, string expected)
    {
        string[] items = [.. Enumerable.Range(1, count).Select(static i => $"{i}")];

        Assert.Equal(expected, Listing.Inline(items));
        Assert.Equal(expected.Replace(", ", "; "), Listing.Inline(items, "; "));
        Assert.Equal("- " + expected.Replace(", ", "\n- "), Listing.Lines(items));
    }

    [Theory]
    [InlineData(2, "a, b", "- a\n- b")]
    [InlineData(1, "a, and 1 more", "- a\n- and 1 more")]
    public void Lists_OtherBound_IsKept(int most, string inline, string lines)
    {
        Assert.Equal(inline, Listing.Inline(["a", "b"], most: most));
        Assert.Equal(lines, Listing.Lines(["a", "b"], most));
    }

    [Theory]
    [InlineData(320, false)]
    [InlineData(321, true)]
    [InlineData(5000, true)]
    public void Inline_LongItem_IsCutInItsMiddle(int length, bool isCut)
    {
        var item = new string('a', 200) + new string('m', length - 300) + new string('z', 100);

        Assert.Equal(isCut ? $"{new string('a', 200)}… ({length} characters) …{new string('z', 100)}" : item, Listing.Inline([item]));
    }

    [Theory]
    [InlineData(0, "0 faults")]
    [InlineData(1, "1 fault")]
    [InlineData(2, "2 faults")]
    public void Count_Things_AreOneOrSeveral(int count, string expected) => Assert.Equal(expected, Listing.Count(count, "fault"));

    [Fact]
    public void Tell_Lines_BecomeOne() => Assert.Equal("one two three" + Environment.NewLine, Heard.During(static () => Notice.Tell("one\ntwo\r\nthree")));
}
