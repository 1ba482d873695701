using LoraNotebooks.Hub;
using LoraNotebooks.Kernel.Commands;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Commands;

/// <summary>The command on a cache without any network.</summary>
public sealed class ModelCommandTests : IDisposable
{
    private const string Commit = "1234567812345678123456781234567812345678";

    private readonly TemporaryFolder _cache = new();

    public void Dispose() => _cache.Dispose();

    [Fact]
    public async Task Path_CachedModel_IsTheOnlyOutput()
    {
        var snapshot = WriteModel();

        Assert.Equal((RunExit.Ok, snapshot + Environment.NewLine, ""), await RunAsync("path", "org/name"));
    }

    [Fact]
    public async Task Path_UnknownModel_IsToldOnTheErrorOutput()
    {
        var (exit, output, error) = await RunAsync("path", "org/other");

        Assert.Equal(RunExit.FileNotFound, exit);
        Assert.Empty(output);
        Assert.Contains(_cache.Path, error);
        Assert.Contains("lora-notebooks model download org/other", error);
    }

    [Fact]
    public async Task List_Models_ShowsNameRevisionSizeAndFiles()
    {
        WriteModel();

        var (exit, output, _) = await RunAsync("list");

        Assert.Equal(RunExit.Ok, exit);
        Assert.Matches(@"org/name\s+main 12345678\s+1\.5 kB\s+1\s+\d{4}-\d\d-\d\d \d\d:\d\d", output);
    }

    [Fact]
    public async Task List_EmptyCache_SaysWhereItIs() => Assert.Contains(_cache.Path, (await RunAsync("list")).Output);

    [Theory]
    [InlineData("org", RunExit.BadParameters, "org/name@revision")]
    [InlineData("org/name", (RunExit)1, "HF_HUB_OFFLINE")]
    public async Task Download_WithoutANameOrANetwork_SaysWhatToDo(string model, RunExit expected, string message)
    {
        var (exit, output, error) = await RunAsync("download", model);

        Assert.Equal(expected, exit);
        Assert.Empty(output);
        Assert.Contains(message, error);
    }

    private string WriteModel()
    {
        var snapshot = Path.Combine(_cache.Path, "models--org--name", "snapshots", Commit);
        Directory.CreateDirectory(snapshot);
        File.WriteAllText(Path.Combine(snapshot, "config.json"), new string(' ', 1500));
        Directory.CreateDirectory(Path.Combine(_cache.Path, "models--org--name", "refs"));
        File.WriteAllText(Path.Combine(_cache.Path, "models--org--name", "refs", "main"), Commit);
        return snapshot;
    }

    private async Task<(RunExit Exit, string Output, string Error)> RunAsync(params string[] arguments)
    {
        var (formerOutput, formerError) = (Console.Out, Console.Error);
        using var output = new StringWriter();
        using var error = new StringWriter();
        try
        {
            Console.SetOut(output);
            Console.SetError(error);
            var exit = await ModelCommand.Create(() => new HubSettings { CacheFolder = _cache.Path, Offline = true }).Parse(arguments).InvokeAsync();
            return ((RunExit)exit, output.ToString(), error.ToString());
        }
        finally
        {
            Console.SetOut(formerOutput);
            Console.SetError(formerError);
        }
    }
}
