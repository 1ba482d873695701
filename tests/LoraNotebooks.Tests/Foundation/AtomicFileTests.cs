using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Foundation;

/// <summary>Files are whole or absent, whatever happens while they are written.</summary>
public sealed class AtomicFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _path;

    public AtomicFileTests() => _path = _folder.In("kept.txt");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Write_UntilItIsDone_LeavesTheFormerFileUnderItsName()
    {
        File.WriteAllText(_path, "former");
        string[] during = [];

        AtomicFile.Write(_path, stream =>
        {
            stream.Write("now"u8);
            stream.Flush();
            during = [.. Directory.GetFiles(_folder.Path).Order(StringComparer.Ordinal)];
            Assert.Equal("former", File.ReadAllText(_path));
        });

        Assert.Equal(2, during.Length);
        Assert.Matches(@"/kept\.txt\.[0-9a-f]{32}\.tmp$", during[1].Replace('\\', '/'));
        Assert.Equal("now", File.ReadAllText(_path));
        Assert.Equal([_path], Directory.GetFiles(_folder.Path));
    }

    /// <summary>Who has begun to read the former file goes on reading it whole.</summary>
    [Fact]
    public void Write_OverAFileThatIsBeingRead_LeavesItToItsReader()
    {
        File.WriteAllText(_path, "the former content");
        using var reader = new StreamReader(new FileStream(_path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));

        AtomicFile.WriteAllText(_path, "now");

        Assert.Equal("the former content", reader.ReadToEnd());
        Assert.Equal("now", File.ReadAllText(_path));
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
            File.WriteAllText(_path, "former");
        }

        var error = Assert.Throws<IOException>(() => AtomicFile.Write(_path, WriteTwice, temporary => new FailingFile(temporary, failsAt, static () => { })));

        Assert.Equal("No space left on device", error.Message);
        Assert.Equal(wasThere ? [_path] : [], Directory.GetFiles(_folder.Path));
        Assert.Equal(wasThere ? "former" : "", wasThere ? File.ReadAllText(_path) : "");
    }

    /// <summary>Else the name could lead to an empty file after a power cut.</summary>
    [Fact]
    public void Write_BeforeTheNameIsGiven_FlushesToTheDisk()
    {
        var flushes = new List<(bool IsNamed, long Length)>();

        AtomicFile.Write(
            _path,
            WriteTwice,
            temporary => new FailingFile(temporary, int.MaxValue, () => flushes.Add((File.Exists(_path), new FileInfo(temporary).Length))));

        Assert.Equal([(false, 6L)], flushes);
        Assert.Equal("onetwo", File.ReadAllText(_path));
    }

    [Fact]
    public void Write_WhereTheNameCannotBeGiven_ThrowsAndLeavesNoTemporary()
    {
        Directory.CreateDirectory(_path);

        Assert.ThrowsAny<SystemException>(() => AtomicFile.WriteAllText(_path, "now"));

        Assert.Empty(Directory.GetFiles(_folder.Path));
        Assert.True(Directory.Exists(_path));
    }

    [Fact]
    public void WriteAllText_InFoldersThatAreMissing_WritesUtf8WithoutAMark()
    {
        var deep = _folder.In("a", "b", "c.txt");

        AtomicFile.WriteAllText(deep, "é…");
        AtomicFile.WriteAllBytes(_folder.In("bytes"), new byte[] { 0, 255, 7 });

        Assert.Equal([0xC3, 0xA9, 0xE2, 0x80, 0xA6], File.ReadAllBytes(deep));
        Assert.Equal([0, 255, 7], File.ReadAllBytes(_folder.In("bytes")));
    }

    private static void WriteTwice(Stream stream)
    {
        stream.Write("one"u8);
        stream.Write("two"u8);
    }
}
