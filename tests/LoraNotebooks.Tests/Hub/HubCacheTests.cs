using LoraNotebooks.Hub;

namespace LoraNotebooks.Tests.Hub;

/// <summary>A cache as Python's huggingface_hub leaves it.</summary>
public sealed class HubCacheTests : IDisposable
{
    private const string First = "1111111111111111111111111111111111111111";
    private const string Second = "2222222222222222222222222222222222222222";

    private readonly string _folder = Directory.CreateTempSubdirectory("hub-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("org/name", Second)]
    [InlineData("org/name@main", Second)]
    [InlineData("org/name@v1", First)]
    [InlineData("org/name@refs/pr/1", First)]
    [InlineData("org/name@" + First, First)]
    [InlineData("org/name@v2", null)]
    [InlineData("org/name@3333333333333333333333333333333333333333", null)]
    [InlineData("org/other", null)]
    public void FindSnapshot_Revision_IsABranchATagOrACommit(string id, string? commit)
    {
        WriteModel();

        Assert.Equal(commit is null ? null : Path.Combine(_folder, "models--org--name", "snapshots", commit), new HubCache(_folder).FindSnapshot(HubId.Parse(id)));
    }

    [Fact]
    public void FindSnapshot_EmptyFolders_AreNoModel()
    {
        WriteModel();
        Directory.Delete(Path.Combine(_folder, "models--org--name", "snapshots", Second), recursive: true);
        Directory.CreateDirectory(Path.Combine(_folder, "models--org--name", "snapshots", Second, "unet"));

        Assert.Null(new HubCache(_folder).FindSnapshot(HubId.Parse("org/name")));
    }

    [Theory]
    [InlineData("unet/config.json", true)]
    [InlineData("unet/missing.json", false)]
    [InlineData("../../refs/main", false)]
    [InlineData("broken.json", false)]
    public void FindFile_Name_IsWithinTheSnapshot(string file, bool isThere)
    {
        WriteModel();
        File.CreateSymbolicLink(Path.Combine(_folder, "models--org--name", "snapshots", Second, "broken.json"), "../../blobs/gone");

        Assert.Equal(isThere, new HubCache(_folder).FindFile(HubId.Parse("org/name"), file) is not null);
    }

    [Fact]
    public void Models_Cache_ListsSnapshotsWithSizesAndUse()
    {
        WriteModel();
        Directory.CreateDirectory(Path.Combine(_folder, "datasets--org--pictures", "snapshots", First));
        var used = new DateTime(2031, 5, 6, 7, 8, 9, DateTimeKind.Utc);
        File.SetLastAccessTimeUtc(Path.Combine(_folder, "models--org--name", "blobs", "bbbb"), used);

        var models = new HubCache(_folder).Models();

        Assert.Equal([("org/name", Second), ("org/name", First)], models.Select(model => (model.Name, model.Commit)));
        Assert.Equal([2, 1], models.Select(model => model.Files));
        Assert.Equal([30L, 10L], models.Select(model => model.Bytes));
        Assert.Equal(["main"], models[0].Revisions);
        Assert.Equal(["refs/pr/1", "v1"], models[1].Revisions);
        Assert.Equal(used, models[0].LastUsedUtc);
    }

    [Fact]
    public void Models_LinksInCircles_AreNotFollowed()
    {
        WriteModel();
        var snapshot = Path.Combine(_folder, "models--org--name", "snapshots", Second);
        File.CreateSymbolicLink(Path.Combine(snapshot, "self.json"), "self.json");
        Directory.CreateSymbolicLink(Path.Combine(snapshot, "here"), ".");
        Directory.CreateSymbolicLink(Path.Combine(snapshot, "there"), "..");
        File.CreateSymbolicLink(Path.Combine(_folder, "models--org--name", "refs", "endless"), "/dev/zero");

        var model = new HubCache(_folder).Models()[0];

        Assert.Equal((Second, 2, 30L), (model.Commit, model.Files, model.Bytes));
        Assert.Null(new HubCache(_folder).FindSnapshot(HubId.Parse("org/name@endless")));
    }

    [Fact]
    public void Models_NoCache_IsEmpty() => Assert.Empty(new HubCache(Path.Combine(_folder, "missing")).Models());

    [Fact]
    public void Resolve_FolderFileOrCachedModel_GivesThePlaceOnTheDisk()
    {
        WriteModel();
        var settings = new HubSettings { CacheFolder = _folder, Offline = true };
        var file = Path.Combine(_folder, "lora.safetensors");
        File.WriteAllText(file, "");

        Assert.Equal(_folder, ModelSource.Resolve(_folder, settings));
        Assert.Equal(file, ModelSource.Resolve(file, settings));
        Assert.EndsWith(First, ModelSource.Resolve("org/name@v1", settings));
    }

    [Fact]
    public void Resolve_Nothing_SaysWhereItWasLookedFor()
    {
        var settings = new HubSettings { CacheFolder = _folder };

        var hub = Assert.Throws<FileNotFoundException>(() => ModelSource.Resolve("org/name@v1", settings)).Message;
        var path = Assert.Throws<FileNotFoundException>(() => ModelSource.Resolve("./no/such/folder", settings)).Message;

        Assert.Contains(Path.GetFullPath("org/name@v1"), hub);
        Assert.Contains(_folder, hub);
        Assert.Contains("lora-notebooks model download org/name --revision v1", hub);
        Assert.Contains(Path.GetFullPath("no/such/folder"), path);
    }

    [Fact]
    public async Task ResolveOrDownload_ModelThatIsNotHere_IsFetchedOnce()
    {
        using var hub = new FakeHub(("config.json", "{}"u8.ToArray()));

        var first = await ModelSource.ResolveOrDownloadAsync(FakeHub.Name, settings: hub.Settings);
        var asked = hub.HubRequests.Count;
        var second = await ModelSource.ResolveOrDownloadAsync(FakeHub.Name, settings: hub.Settings);

        Assert.Equal(hub.SnapshotFolder, first);
        Assert.Equal(first, second);
        Assert.Equal(asked, hub.HubRequests.Count);
    }

    [Fact]
    public async Task ResolveOrDownload_Offline_AsksNobodyAndSaysSo()
    {
        using var hub = new FakeHub(("config.json", "{}"u8.ToArray()));

        var error = await Assert.ThrowsAsync<FileNotFoundException>(() => ModelSource.ResolveOrDownloadAsync(FakeHub.Name, settings: hub.Settings with { Offline = true }));

        Assert.Contains("HF_HUB_OFFLINE", error.Message);
        Assert.Empty(hub.HubRequests);
    }

    /// <summary>Two commits that share a blob of 10 bytes; the second has another of 20.</summary>
    private void WriteModel()
    {
        var repository = Path.Combine(_folder, "models--org--name");
        Write("blobs/aaaa", new string('a', 10));
        Write("blobs/bbbb", new string('b', 20));
        Write("refs/main", Second);
        Write("refs/v1", First);
        Write("refs/refs/pr/1", First);
        Link(First, "config.json", "../../blobs/aaaa");
        Link(Second, "config.json", "../../blobs/aaaa");
        Link(Second, "unet/config.json", "../../../blobs/bbbb");

        void Write(string name, string content)
        {
            var path = Path.Combine(repository, name);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, content);
        }

        void Link(string commit, string name, string target)
        {
            var path = Path.Combine(repository, "snapshots", commit, name);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.CreateSymbolicLink(path, target);
        }
    }
}
