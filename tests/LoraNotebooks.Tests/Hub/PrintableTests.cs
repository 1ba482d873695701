using LoraNotebooks.Hub;

namespace LoraNotebooks.Tests.Hub;

/// <summary>What a server says, made fit for a message, and names that come from it.</summary>
public sealed class PrintableTests
{
    [Theory]
    [InlineData("a\u0001\r\n\u007F\u009Bb é帽", "ab é帽")]
    [InlineData("", "")]
    public void Text_ControlCharacters_AreLeftOut(string text, string expected) => Assert.Equal(expected, Printable.Text(text));

    [Theory]
    [InlineData(200, 200)]
    [InlineData(201, 201)]
    [InlineData(5000, 201)]
    public void Text_LongText_IsCut(int length, int expected)
    {
        var text = Printable.Text(new string('a', length));

        Assert.Equal(expected, text.Length);
        Assert.Equal(length > 200, text.EndsWith('…'));
    }

    [Theory]
    [InlineData("https://user:word@hub.example:8443/a%20b/c?signature=x#part", "https://hub.example:8443/a%20b/c")]
    [InlineData("http://hub.example", "http://hub.example/")]
    public void Address_QueryAndUser_AreLeftOut(string address, string expected) => Assert.Equal(expected, Printable.Address(new Uri(address)));

    [Theory]
    [InlineData("unet/config.json", null)]
    [InlineData("a b-c_d.e", null)]
    [InlineData("a\\b", "a backslash, a colon")]
    [InlineData("a:b", "a backslash, a colon")]
    [InlineData("a*b", "a backslash, a colon")]
    [InlineData("a?b", "a backslash, a colon")]
    [InlineData("a\"b", "a backslash, a colon")]
    [InlineData("a<b", "a backslash, a colon")]
    [InlineData("a>b", "a backslash, a colon")]
    [InlineData("a|b", "a backslash, a colon")]
    [InlineData("a\u0001b", "a backslash, a colon")]
    [InlineData("", "is absolute or has an empty part")]
    [InlineData("/a", "is absolute or has an empty part")]
    [InlineData("a/", "is absolute or has an empty part")]
    [InlineData("a/./b", "'.', '..' or ends with a dot")]
    [InlineData("a/..", "'.', '..' or ends with a dot")]
    [InlineData("a./b", "'.', '..' or ends with a dot")]
    [InlineData("a /b", "'.', '..' or ends with a dot")]
    public void FaultOf_Name_SaysWhyItWouldLeaveItsFolder(string name, string? fault)
    {
        Assert.Equal(fault is null, RepositoryPath.FaultOf(name) is null);
        Assert.Contains(fault ?? "", RepositoryPath.FaultOf(name) ?? "");
        if (fault is null)
        {
            Assert.Equal(Path.Combine("folder", name.Replace('/', Path.DirectorySeparatorChar)), RepositoryPath.Below("folder", name));
            return;
        }

        var error = Assert.Throws<HubException>(() => RepositoryPath.Below("folder", name));
        Assert.Equal(HubFailure.Refused, error.Failure);
        Assert.Contains($"The server names a file '{Printable.Text(name)}', which is refused: ", error.Message);
        Assert.Contains(fault, error.Message);
    }
}
