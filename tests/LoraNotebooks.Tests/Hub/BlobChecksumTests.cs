using System.Text;
using LoraNotebooks.Hub;

namespace LoraNotebooks.Tests.Hub;

/// <summary>By which of the names that a server gives a file its content is checked.</summary>
public sealed class BlobChecksumTests
{
    private static readonly byte[] Content = Encoding.ASCII.GetBytes("hello\n");

    // Of "hello\n": sha256sum, and git hash-object, the SHA-1 of "blob 6\0hello\n".
    private const string Sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    private const string GitBlob = "ce013625030ba8dba906f756967f9e9ca394464a";
    private const string Other = "0000000000000000000000000000000000000000";

    [Theory]
    [InlineData(Sha256, null, null, Sha256)]
    [InlineData(GitBlob, null, null, GitBlob)]
    [InlineData(GitBlob, Other, null, GitBlob)]
    [InlineData("tag", Sha256, null, Sha256)]
    [InlineData("tag", Sha256, Other, Sha256)]
    [InlineData("tag", null, GitBlob, GitBlob)]
    [InlineData("tag", null, null, null)]
    [InlineData("CE013625030BA8DBA906F756967F9E9CA394464A", Sha256, null, Sha256)]
    [InlineData("ge013625030ba8dba906f756967f9e9ca394464a", Sha256, null, Sha256)]
    [InlineData("ce013625030ba8dba906f756967f9e9ca394464", Sha256, null, Sha256)]
    [InlineData("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03-1", null, GitBlob, GitBlob)]
    public void Of_TagAndList_TakesTheFirstThatIsAChecksum(string etag, string? sha256, string? gitBlob, string? expected)
    {
        var checksum = BlobChecksum.Of(etag, new ListedFile("a", null, sha256, gitBlob), Content.Length);

        Assert.Equal(expected, checksum.Expected);
        Assert.True(Fits(checksum, Content, out var got));
        Assert.Equal(expected == GitBlob ? GitBlob : Sha256, got);
        Assert.Equal(expected is null, Fits(checksum, [.. Content, 0], out _));
    }

    private static bool Fits(BlobChecksum checksum, byte[] content, out string got)
    {
        using var hash = checksum.Begin();
        hash.AppendData(content);
        return checksum.Fits(hash, out got);
    }
}
