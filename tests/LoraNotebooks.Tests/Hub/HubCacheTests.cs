using LoraNotebooks.Hub;
using LoraNotebooks.Tests.Training;

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

        Assert.Equal(
            commit is null ? null : Path.Combine(_folder, "models--org--name", "snapshots", commit),
            new HubCache(_folder).FindSnapshot(HubId.Parse(id)));
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
    public void Models_Order_IsByNameThenTheLatestUsed()
    {
        WriteModel();
        string[] folders =
        [
            $"models--b--a/snapshots/{First}", $"models--a--b/snapshots/{First}", $"models--a--b/snapshots/{Second}", $"models--old/snapshots/{First}",
            $"datasets--a--b/snapshots/{First}", "models--none/blobs",
        ];
        foreach (var folder in folders)
        {
            Directory.CreateDirectory(Path.Combine(_folder, folder));
        }

        // An empty snapshot is as old as its folder.
        Directory.SetLastWriteTimeUtc(Path.Combine(_folder, "models--a--b", "snapshots", First), new DateTime(2031, 1, 1, 0, 0, 0, DateTimeKind.Utc));
        Directory.SetLastWriteTimeUtc(Path.Combine(_folder, "models--a--b", "snapshots", Second), new DateTime(2031, 1, 2, 0, 0, 0, DateTimeKind.Utc));
        var blob = Path.Combine(_folder, "models--org--name", "blobs", "aaaa");
        File.SetLastWriteTimeUtc(blob, new DateTime(2033, 1, 1, 0, 0, 0, DateTimeKind.Utc));
        File.SetLastAccessTimeUtc(blob, new DateTime(2032, 1, 1, 0, 0, 0, DateTimeKind.Utc));

        var models = new HubCache(_folder).Models();

        Assert.Equal(["a/b", "a/b", "b/a", "old", "org/name", "org/name"], models.Select(static model => model.Name));
        Assert.Equal([Second, First], models.Take(2).Select(static model => model.Commit));
        Assert.Equal(new DateTime(2031, 1, 2, 0, 0, 0, DateTimeKind.Utc), models[0].LastUsedUtc);
        Assert.Equal((0, 0L), (models[0].Files, models[0].Bytes));
        Assert.All(models.Skip(4), static model => Assert.Equal(2033, model.LastUsedUtc.Year));
        Assert.Equal(Path.Combine(_folder, "models--a--b", "snapshots", Second), models[0].Folder);
    }

    [Fact]
    public void Models_OneBlobUnderTwoNames_IsCountedOnce()
    {
        WriteModel();
        var snapshot = Path.Combine(_folder, "models--org--name", "snapshots", Second);
        File.CreateSymbolicLink(Path.Combine(snapshot, "again.json"), "../../blobs/bbbb");
        File.CreateSymbolicLink(Path.Combine(snapshot, "broken.json"), "../../blobs/gone");
        Directory.CreateSymbolicLink(Path.Combine(_folder, "models--org--name", "snapshots", "latest"), Second);
        File.WriteAllText(Path.Combine(_folder, "models--org--name", "refs", "half.tmp"), Second);

        var model = Assert.Single(new HubCache(_folder).Models(), static model => model.Commit == Second);

        Assert.Equal((3, 30L), (model.Files, model.Bytes));
        Assert.Equal(["main"], model.Revisions);
    }

    [Theory]
    [InlineData("1111111111111111111111111111111111111111\n", true)]
    [InlineData("  1111111111111111111111111111111111111111", true)]
    [InlineData("111111111111111111111111111111111111111", false)]
    [InlineData("11111111111111111111111111111111111111111", false)]
    [InlineData("111111111111111111111111111111111111111A", false)]
    [InlineData("", false)]
    public void FindSnapshot_Reference_IsACommitOrNothing(string content, bool isOne)
    {
        WriteModel();
        File.WriteAllText(Path.Combine(_folder, "models--org--name", "refs", "other"), content);
        Assert.Equal(isOne, new HubCache(_folder).FindSnapshot(HubId.Parse("org/name@other")) is not null);
    }

    [Theory]
    [InlineData(1000, true)]
    [InlineData(1001, false)]
    public void FindSnapshot_LongReference_IsNone(int length, bool isOne)
    {
        WriteModel();
        File.WriteAllText(Path.Combine(_folder, "models--org--name", "refs", "long"), First.PadRight(length));
        Assert.Equal(isOne, new HubCache(_folder).FindSnapshot(HubId.Parse("org/name@long")) is not null);
    }

    [Theory]
    [InlineData("/c/models--org--name/snapshots/1111111111111111111111111111111111111111", "org/name")]
    [InlineData("/c/models--org--name/snapshots/1111111111111111111111111111111111111111/unet/a.json", "org/name")]
    [InlineData("/snapshots/x/models--org--name/snapshots/1111111111111111111111111111111111111111", "org/name")]
    [InlineData("/c/models--org--name/snapshots/main", null)]
    [InlineData("/c/models--org--name/snapshots", null)]
    [InlineData("/c/datasets--org--name/snapshots/1111111111111111111111111111111111111111", null)]
    [InlineData("/c/models--name/snapshots/1111111111111111111111111111111111111111", null)]
    [InlineData("snapshots/1111111111111111111111111111111111111111", null)]
    [InlineData("/c/models--org--name/blobs/1111111111111111111111111111111111111111", null)]
    public void SnapshotOf_Path_IsTheModelAtItsCommit(string path, string? name) =>
        Assert.Equal(name is null ? null : $"{name}@{First}", HubCache.SnapshotOf(path.Replace('/', Path.DirectorySeparatorChar))?.ToString());

    [Fact]
    public void FindFile_FileThatIsThere_IsItsPathInTheSnapshot()
    {
        WriteModel();
        var cache = new HubCache(Path.Combine(_folder, ".", "x", ".."));

        Assert.Equal(_folder, cache.Folder);
        Assert.Equal(
            Path.Combine(_folder, "models--org--name", "snapshots", Second, "unet", "config.json"),
            cache.FindFile(HubId.Parse("org/name"), "unet/config.json"));
        Assert.Null(cache.FindFile(HubId.Parse("org/name@v9"), "unet/config.json"));
        Assert.Null(cache.FindFile(HubId.Parse("org/name"), "unet"));
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

    // Name of the hub, whether the network is off; what the message says from the cache on.
    [Theory]
    [InlineData("org/name", false, "does not hold org/name at revision main. Fetch it: lora-notebooks model download org/name. Or give the path of a folder.")]
    [InlineData(
        "org/name@v1", false,
        "does not hold org/name at revision v1. Fetch it: lora-notebooks model download org/name --revision v1. Or give the path of a folder.")]
    [InlineData(
        "org/name", true,
        "does not hold org/name at revision main. Fetch it on a machine with network (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set here): lora-notebooks " +
        "model download org/name. Or give the path of a folder.")]
    public void Resolve_ModelThatIsNotCached_SaysHowToFetchIt(string source, bool offline, string message)
    {
        var error = Assert.Throws<FileNotFoundException>(() => ModelSource.Resolve(source, new HubSettings { CacheFolder = _folder, Offline = offline }));

        Assert.Equal($"There is no model '{source}': no folder '{Path.GetFullPath(source)}', and the cache '{_folder}' {message}", error.Message);
        Assert.Equal(Path.GetFullPath(source), error.FileName);
    }

    [Fact]
    public async Task Resolve_PathThatIsNone_SaysSo()
    {
        var path = Path.Combine(_folder, "none");
        var error = Assert.Throws<FileNotFoundException>(() => ModelSource.Resolve(path));

        Assert.Equal(
            $"There is no model '{path}': no folder and no file '{path}', and it is not a name on the hub (org/name or org/name@revision). Correct the path.",
            error.Message);
        Assert.Equal(path, error.FileName);
        Assert.Equal(error.Message, (await Assert.ThrowsAsync<FileNotFoundException>(() => ModelSource.ResolveOrDownloadAsync(path))).Message);
        Assert.Equal(_folder, await ModelSource.ResolveOrDownloadAsync(_folder));
        Assert.Equal(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ModelSource.Resolve("~"));
        Assert.Throws<ArgumentException>(() => ModelSource.Resolve(" "));
    }

    [Fact]
    public async Task ResolveOrDownload_OptionsAndProgress_ReachTheDownload()
    {
        using var hub = new FakeHub(("config.json", "{}"u8.ToArray()), ("other.json", "[]"u8.ToArray()));
        var reports = new List<DownloadProgress>();
        using var stop = new CancellationTokenSource();

        var folder = await ModelSource.ResolveOrDownloadAsync(
            FakeHub.Name, new DownloadOptions { Files = ["other*"] }, hub.Settings, new Immediate<DownloadProgress>(reports.Add), stop.Token);
        stop.Cancel();

        Assert.Equal(["other.json"], Directory.GetFiles(folder).Select(Path.GetFileName));
        Assert.Equal(["other.json"], reports.Select(static report => report.File).Distinct());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => ModelSource.ResolveOrDownloadAsync($"{FakeHub.Name}@v2", settings: hub.Settings, cancellationToken: stop.Token));
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

        var error = await Assert.ThrowsAsync<FileNotFoundException>(() =>
            ModelSource.ResolveOrDownloadAsync(FakeHub.Name, settings: hub.Settings with { Offline = true }));

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
