using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Foundation;

/// <summary>Files are whole or absent, whatever happens while they are written.</summary>
public sealed class AtomicFileTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly string path;

    public AtomicFileTests() => path = folder.In("kept.txt");

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Write_UntilItIsDone_LeavesTheFormerFileUnderItsName()
    {
        File.WriteAllText(path, "former");
        string[] during = [];

        AtomicFile.Write(path, stream =>
        {
            stream.Write("now"u8);
            stream.Flush();
            during = [.. Directory.GetFiles(folder.Path).Order(StringComparer.Ordinal)];
            Assert.Equal("former", File.ReadAllText(path));
        });

        Assert.Equal(2, during.Length);
        Assert.Matches(@"/kept\.txt\.[0-9a-f]{32}\.tmp$", during[1].Replace('\\', '/'));
        Assert.Equal("now", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFiles(folder.Path));
    }

    /// <summary>Who has begun to read the former file goes on reading it whole.</summary>
    [Fact]
    public void Write_OverAFileThatIsBeingRead_LeavesItToItsReader()
    {
        File.WriteAllText(path, "the former content");
        using var reader = new StreamReader(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));

        AtomicFile.WriteAllText(path, "now");

        Assert.Equal("the former content", reader.ReadToEnd());
        Assert.Equal("now", File.ReadAllText(path));
    }

    [Theory]
    [InlineData(1, true)]
    [InlineData(2, true)]
    [InlineData(3, true)]
    [InlineData(1, false)]
    [InlineData(3, false)]
    public void Write_FailingAtAnyCall_LeavesWhatWasThereAndNoTemporary(int failsAt, bool wasThere)
    {
        if (wasThere)
        {
            File.WriteAllText(path, "former");
        }

        var error = Assert.Throws<IOException>(() => AtomicFile.Write(path, WriteTwice, temporary => new FailingFile(temporary, failsAt, static () => { })));

        Assert.Equal("No space left on device", error.Message);
        Assert.Equal(wasThere ? [path] : [], Directory.GetFiles(folder.Path));
        Assert.Equal(wasThere ? "former" : "", wasThere ? File.ReadAllText(path) : "");
    }

    /// <summary>Else the name could lead to an empty file after a power cut.</summary>
    [Fact]
    public void Write_BeforeTheNameIsGiven_FlushesToTheDisk()
    {
        var flushes = new List<(bool IsNamed, long Length)>();

        AtomicFile.Write(
            path,
            WriteTwice,
            temporary => new FailingFile(temporary, int.MaxValue, () => flushes.Add((File.Exists(path), new FileInfo(temporary).Length))));

        Assert.Equal([(false, 6L)], flushes);
        Assert.Equal("onetwo", File.ReadAllText(path));
    }

    [Fact]
    public void Write_WhereTheNameCannotBeGiven_ThrowsAndLeavesNoTemporary()
    {
        Directory.CreateDirectory(path);

        Assert.ThrowsAny<SystemException>(() => AtomicFile.WriteAllText(path, "now"));

        Assert.Empty(Directory.GetFiles(folder.Path));
        Assert.True(Directory.Exists(path));
    }

    [Fact]
    public void WriteAllText_InFoldersThatAreMissing_WritesUtf8WithoutAMark()
    {
        var deep = folder.In("a", "b", "c.txt");

        AtomicFile.WriteAllText(deep, "é…");
        AtomicFile.WriteAllBytes(folder.In("bytes"), new byte[] { 0, 255, 7 });

        Assert.Equal([0xC3, 0xA9, 0xE2, 0x80, 0xA6], File.ReadAllBytes(deep));
        Assert.Equal([0, 255, 7], File.ReadAllBytes(folder.In("bytes")));
    }

    private static void WriteTwice(Stream stream)
    {
        stream.Write("one"u8);
        stream.Write("two"u8);
    }
}
