using System.IO.Compression;
using System.Text;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Tests.Sessions;

public sealed class CSharpSessionTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly StringBuilder _out = new();
    private readonly StringBuilder _error = new();
    private readonly CSharpSession _session;
    private int _cells;

    public CSharpSessionTests() => _session = new CSharpSession(new CSharpSessionOptions
    {
        BaseFolder = _folder.Path,
        StandardOutput = text => _out.Append(text),
        StandardError = text => _error.Append(text),
        StopGrace = TimeSpan.FromSeconds(20),
    });

    public void Dispose()
    {
        _session.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task RunAsync_VariableOfAnEarlierCell_IsThere()
    {
        await ValueAsync("var x = 20;");
        Assert.Equal(42, await ValueAsync("x * 2 + 2"));
        Assert.Equal(20, _session.Variables["x"]);
    }

    [Fact]
    public async Task RunAsync_Redeclaration_HidesTheEarlierVariable()
    {
        await ValueAsync("var x = 1;");
        await ValueAsync("var x = \"text\";");
        Assert.Equal(4, await ValueAsync("x.Length"));
    }

    [Fact]
    public async Task RunAsync_TopLevelAwait_GivesTheAwaitedValue() =>
        Assert.Equal(7, await ValueAsync("await Task.Delay(1);\nawait Task.FromResult(7)"));

    [Fact]
    public async Task RunAsync_UsingDirective_Persists()
    {
        await ValueAsync("using System.Text;");
        Assert.Equal("ab", await ValueAsync("new StringBuilder(\"a\").Append('b').ToString()"));
    }

    [Fact]
    public async Task RunAsync_StatementAtTheEnd_HasNoValue() => Assert.Null(await ValueAsync("var x = 1;"));

    [Fact]
    public async Task RunAsync_TorchAndToolkit_AreReferencedAndTheSameTypesAsOutside()
    {
        Assert.Equal(6.0, await ValueAsync("torch.ones(2, 3).sum().ToDouble()"));
        Assert.Equal(true, await ValueAsync("Tensor t = torch.zeros(1); t.requires_grad == false"));
        Assert.Same(typeof(NotebookHost), await ValueAsync("typeof(LoraNotebooks.Interactive.NotebookHost)"));
    }

    [Fact]
    public async Task RunAsync_EveryToolkitType_CanBeNamedWithoutItsNamespace()
    {
        var names = new[] { typeof(LoraNotebooks.Tensors.NativeRuntime), typeof(NotebookHost) }
            .SelectMany(type => type.Assembly.GetExportedTypes())
            .Where(type => !type.IsNested && type.Namespace is not null)
            .Select(type => type.Name.IndexOf('`', StringComparison.Ordinal) is > 0 and var tick
                ? $"{type.Name[..tick]}<{new string(',', type.GetGenericArguments().Length - 1)}>"
                : type.Name);
        await ValueAsync(string.Join('\n', names.Select(name => $"_ = typeof({name});")));
    }

    [Fact]
    public async Task RunAsync_NullableAnnotations_AreNoErrors() => Assert.Null(await ValueAsync("string? s = null;\ns"));

    [Fact]
    public async Task RunAsync_Load_BringsTheFilesDeclarations()
    {
        _folder.Write("helper.csx", "int Twice(int n) => 2 * n;");
        Assert.Equal(8, await ValueAsync("#load \"helper.csx\"\nTwice(4)"));
    }

    [Fact]
    public async Task RunAsync_PackageReference_IsRestoredCompiledAndLoaded()
    {
        Assert.Equal("Some long name", await ValueAsync("#r \"nuget: Humanizer.Core, 2.14.1\"\nusing Humanizer;\n\"SomeLongName\".Humanize()"));
        Assert.Equal("three", await ValueAsync("3.ToWords()"));
    }

    [Fact]
    public async Task RunAsync_PackageThatTheApplicationBrings_NeedsNoRestore()
    {
        Assert.Equal(2L, await ValueAsync("#r \"nuget: TorchSharp, 0.100.0\"\ntorch.ones(2).numel()"));
    }

    [Fact]
    public async Task RunAsync_UnreadablePackageReference_SaysHowToWriteIt()
    {
        var result = await RunAsync("#r \"nuget: not a name!\"\n1");
        Assert.Equal(CellStatus.CompileError, result.Status);
        Assert.Contains("Write #r \"nuget: Name, version\"", result.Error!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_FileReference_LoadsTheAssembly()
    {
        await File.WriteAllBytesAsync(_folder.File("Neighbour.dll"), House("Neighbour"));
        Assert.Equal(12, await ValueAsync("#r \"Neighbour.dll\"\nNeighbour.House.Number"));
    }

    [Fact]
    public async Task RunAsync_MissingFileReference_IsACompileErrorThatNamesIt()
    {
        var result = await RunAsync("#r \"missing.dll\"\n1");
        Assert.Equal(CellStatus.CompileError, result.Status);
        Assert.Contains("missing.dll", result.Error!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_CompileError_ShowsCellLineColumnAndSource()
    {
        var result = await RunAsync("var a = 1;\nvar b = a + nothing;");
        Assert.Equal(CellStatus.CompileError, result.Status);
        Assert.Equal(
            [
                "cell 1, line 2, column 13: error CS0103: The name 'nothing' does not exist in the current context",
                "    2 | var b = a + nothing;",
                "      |             ^^^^^^^",
            ],
            result.Error!.Traceback);
        Assert.Equal(2, await ValueAsync("1 + 1"));
    }

    [Fact]
    public async Task RunAsync_Exception_ShowsTheLinesOfTheCellsAndNoMachinery()
    {
        await ValueAsync("int Divide(int n)\n{\n    return 1 / n;\n}");
        var result = await RunAsync("var kept = 5;\nDivide(0);");
        Assert.Equal(CellStatus.Failed, result.Status);
        Assert.Equal(
            [
                "System.DivideByZeroException: Attempted to divide by zero.",
                "   at cell 1, line 3, in Divide: return 1 / n;",
                "   at cell 2, line 2: Divide(0);",
            ],
            result.Error!.Traceback);
        Assert.Equal(5, await ValueAsync("kept"));
    }

    [Fact]
    public async Task RunAsync_ExceptionAfterAwaitWithCause_NamesBoth()
    {
        var result = await RunAsync("await Task.Yield();\nthrow new InvalidOperationException(\"outer\", new ArgumentException(\"inner\"));");
        Assert.Contains("System.InvalidOperationException: outer", result.Error!.Traceback);
        Assert.Contains("Caused by System.ArgumentException: inner", result.Error.Traceback);
        Assert.Contains("   at cell 1, line 2: throw new InvalidOperationException(\"outer\", new ArgumentException(\"inner\"));", result.Error.Traceback);
    }

    [Fact]
    public async Task RunAsync_LibtorchError_LeavesItsNativeStackOut()
    {
        var result = await RunAsync("torch.ones(2, 2).mm(torch.ones(3, 2))");
        Assert.Equal("mat1 and mat2 shapes cannot be multiplied (2x2 and 3x2)", result.Error!.Message);
    }

    [Fact]
    public async Task RunAsync_SinkThatWritesToTheConsole_DoesNotGoRoundInACircle()
    {
        var seen = 0;
        using var session = new CSharpSession(new CSharpSessionOptions
        {
            StandardOutput = text =>
            {
                seen++;
                Console.Write("");
                Console.Out.Flush();
            },
        });
        Assert.Null((await session.RunAsync("Console.Write(\"once\");", "cell 1")).Error);
        Assert.Equal(1, seen);
    }

    [Fact]
    public async Task RunAsync_Display_ReachesTheCallersHost()
    {
        var host = new RecordingHost();
        using (NotebookHost.Use(host))
        {
            await ValueAsync("var handle = display(\"first\"); \"second\".Display(); handle.Update(\"third\");");
        }

        Assert.Equal(["first", "second", "third"], host.Texts);
    }

    [Fact]
    public async Task RunAsync_TimeLimit_StopsACellThatWatchesTheToken()
    {
        var result = await RunAsync("await Task.Delay(60_000, Cancellation);", TimeSpan.FromMilliseconds(200));
        Assert.Equal(CellStatus.TimedOut, result.Status);
        Assert.False(result.StillRunning);
        Assert.Equal(3, await ValueAsync("1 + 2"));
    }

    [Theory]
    [InlineData("while (true) { }")]
    [InlineData("Thread.Sleep(60_000);")]
    [InlineData("await Task.Delay(60_000);")]
    [InlineData("await Task.Yield(); while (true) { try { Thread.Sleep(1); } catch { } }")]
    [InlineData("Task.Delay(60_000).Wait();")]
    public async Task RunAsync_CellThatDoesNotWatchTheToken_IsEndedAndItsVariablesStay(string code)
    {
        var result = await StopAsync("var kept = 4; " + code);
        Assert.Equal(CellStatus.Canceled, result.Status);
        Assert.False(result.StillRunning);
        Assert.Equal(4, await ValueAsync("kept"));
    }

    [Fact]
    public async Task RunAsync_CellThatHandlesTheStop_IsGivenTimeAndItsWorkIsKept()
    {
        var result = await StopAsync("var saved = false; var token = Cancellation; var kept = 4; try { await Task.Delay(60_000, token); } catch (OperationCanceledException) { await Task.Delay(20); saved = true; }");
        Assert.Equal(CellStatus.Canceled, result.Status);
        Assert.Equal(true, await ValueAsync("saved"));
    }

    [Fact]
    public async Task Interrupt_ACellThatWatchesTheTokenButGoesOn_EndsItTheSecondTime()
    {
        using var session = new CSharpSession(new CSharpSessionOptions { StopGrace = TimeSpan.FromMinutes(5) });
        var running = session.RunAsync("var token = Cancellation; var kept = 4; while (true) { Thread.Sleep(5); }", "cell 1");
        while (session.Variables.GetValueOrDefault("kept") is not 4)
        {
            await Task.Delay(20);
        }

        session.Interrupt();
        await Task.Delay(500);
        Assert.False(running.IsCompleted);
        session.Interrupt();
        Assert.Equal(CellStatus.Canceled, (await running).Status);
        Assert.Equal(5, (await session.RunAsync("5", "cell 2")).Value);
    }

    [Fact]
    public async Task RunAsync_CellThatTookTheTokenAndGoesOn_IsEndedAfterTheGrace()
    {
        using var session = new CSharpSession(new CSharpSessionOptions { StopGrace = TimeSpan.FromMilliseconds(100) });
        await session.WarmUpAsync();
        var result = await session.RunAsync("var token = Cancellation; while (true) { Thread.Sleep(5); }", "cell 1", TimeSpan.FromSeconds(1));
        Assert.Equal(CellStatus.TimedOut, result.Status);
        Assert.False(result.StillRunning);
    }

    [Theory]
    [InlineData("while (true) { }")]
    [InlineData("await Task.Yield(); while (true) { }")]
    public async Task RunAsync_EndlessLoopsOneAfterAnother_AreAllEnded(string code)
    {
        for (var i = 0; i < 4; i++)
        {
            var result = await StopAsync($"var kept = 4; {code}");
            Assert.Equal(CellStatus.Canceled, result.Status);
            Assert.False(result.StillRunning, $"loop {i + 1} goes on");
            Assert.Equal(0, await ValueAsync("var kept = 0; kept"));
        }
    }

    [Fact]
    public async Task RunAsync_StoppedCell_RunsNothingMoreWhenWhatItWaitedForIsDone()
    {
        await ValueAsync("var gate = new TaskCompletionSource(); var ran = false;");
        await StopAsync("var kept = 4; await gate.Task; ran = true;");
        await ValueAsync("gate.SetResult(); await Task.Delay(200);");
        Assert.Equal(false, await ValueAsync("ran"));
    }

    [Fact]
    public async Task RunAsync_FinallyBlockOfAStoppedCell_IsRun()
    {
        await StopAsync("var cleaned = false; var kept = 4; try { while (true) { Thread.SpinWait(10); } } finally { cleaned = true; }");
        Assert.Equal(true, await ValueAsync("cleaned"));
    }

    [Fact]
    public async Task RunAsync_BlockingOnATaskOfTheCell_DoesNotDeadlock() =>
        Assert.Equal(3, await ValueAsync("async Task<int> Three() { await Task.Delay(10); return 3; }\nawait Task.Yield();\nThree().Result"));

    [Fact]
    public async Task RunAsync_Input_ComesLineByLineAndLetterByLetter()
    {
        var lines = new Queue<string>(["one", "two"]);
        using var session = new CSharpSession(new CSharpSessionOptions { ReadLine = () => lines.TryDequeue(out var line) ? line : null });
        var result = await session.RunAsync("(Console.ReadLine(), (char)Console.Read(), Console.ReadLine(), Console.ReadLine())", "cell 1");
        Assert.Equal(("one", 't', "wo", null), ((string?, char, string?, string?))result.Value!);
    }

    [Fact]
    public async Task RunAsync_Magics_AreDoneAndTakenOut()
    {
        Assert.Equal(3, await ValueAsync("#!time\n#!csharp\n1 + 2"));
        Assert.StartsWith("Wall time: ", _out.ToString(), StringComparison.Ordinal);
        _out.Clear();
        await ValueAsync("#!lsmagic");
        Assert.Contains("#!time", _out.ToString(), StringComparison.Ordinal);
        await ValueAsync("#!about");
        Assert.Contains(".NET", _out.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_MagicInAString_IsText() => Assert.Equal("\n#!time\n", await ValueAsync("@\"\n#!time\n\""));

    [Fact]
    public async Task RunAsync_UnknownMagic_IsNamedWithTheKnownOnes()
    {
        var result = await RunAsync("#!python\nprint(1)");
        Assert.Equal("UnknownMagic", result.Error!.Name);
        Assert.Contains("#!lsmagic", result.Error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("#!html\n<b>\"{ not C#", "text/html", "<b>\"{ not C#")]
    [InlineData("#!markdown\n# Title\n* a", "text/markdown", "# Title\n* a")]
    public async Task RunAsync_CellOfMarkup_IsShown(string code, string type, string expected)
    {
        var host = new RecordingHost();
        using (NotebookHost.Use(host))
        {
            await ValueAsync(code);
        }

        Assert.Equal(expected, Assert.Single(host.Bundles).Text(type));
    }

    [Fact]
    public async Task RunAsync_IdiomsOfOtherCSharpNotebooks_Work()
    {
        var host = new RecordingHost();
        using (NotebookHost.Use(host))
        {
            await ValueAsync("display(HTML(\"<i>1</i>\")); 2.Display(); new[] { new { A = 1 } }.DisplayAs(\"text/plain\"); display(\"text\", \"text/plain\");");
        }

        Assert.Equal("<i>1</i>", host.Bundles[0].Text("text/html"));
        Assert.Equal("2", host.Texts[1]);
        Assert.Equal(["text/plain"], host.Bundles[2].Types);
        Assert.Equal("text", host.Texts[3]);
    }

    [Fact]
    public async Task RunAsync_PackageSourceThatIsAFolder_IsUsed()
    {
        var before = Environment.GetEnvironmentVariable("NUGET_PACKAGES");
        Environment.SetEnvironmentVariable("NUGET_PACKAGES", _folder.File("packages"));
        try
        {
            Directory.CreateDirectory(_folder.File("feed"));
            await using (var package = await ZipFile.OpenAsync(_folder.File("feed/Local.House.1.2.3.nupkg"), ZipArchiveMode.Create))
            {
                Put(package, "Local.House.nuspec", "<package><metadata><id>Local.House</id><version>1.2.3</version><authors>a</authors><description>d</description></metadata></package>"u8.ToArray());
                Put(package, "lib/net10.0/Local.House.dll", House("Local.House"));
            }

            Assert.Equal(12, await ValueAsync("#i \"nuget: feed\"\n#r \"nuget: Local.House, 1.2.3\"\nNeighbour.House.Number"));
        }
        finally
        {
            Environment.SetEnvironmentVariable("NUGET_PACKAGES", before);
        }

        static void Put(ZipArchive package, string name, byte[] content)
        {
            using var entry = package.CreateEntry(name).Open();
            entry.Write(content);
        }
    }

    [Fact]
    public async Task RunAsync_PackageSourceThatCannotBeUsed_SaysWhatWasExpected()
    {
        Assert.Contains("no folder", (await RunAsync("#i \"nuget: nowhere\"")).Error!.Message, StringComparison.Ordinal);
        Assert.Contains("Write #i \"nuget:", (await RunAsync("#i nowhere")).Error!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_CellsThatOnlyUse_LeaveNoTraceAndLaterOnesSeeTheDeclaringOnes()
    {
        await ValueAsync("var first = 1;");
        await ValueAsync("first + 1");
        await ValueAsync("using System.Text;");
        await ValueAsync("Console.Write(first);");
        await ValueAsync("int.TryParse(\"7\", out var parsed);");
        await ValueAsync("first = 5;");
        Assert.Equal("5 7", await ValueAsync("new StringBuilder().Append(first).Append(' ').Append(parsed).ToString()"));
    }

    [Fact]
    public async Task RunAsync_Cancellation_EndsTheCellAsCanceled()
    {
        using var source = new CancellationTokenSource();
        var running = _session.RunAsync("await Task.Delay(60_000, Cancellation);", "cell 1", cancellation: source.Token);
        source.CancelAfter(100);
        Assert.Equal(CellStatus.Canceled, (await running).Status);
    }

    [Fact]
    public async Task RunAsync_ThreadSettingOfOneCell_IsThereInTheNext()
    {
        var thread = await ValueAsync("Environment.CurrentManagedThreadId");
        await ValueAsync("await Task.Yield();");
        Assert.Equal(thread, await ValueAsync("Environment.CurrentManagedThreadId"));
    }

    [Fact]
    public async Task RunAsync_ManyCells_DoNotPileUpMemory()
    {
        for (var i = 0; i < 20; i++)
        {
            await ValueAsync($"{i} + 1");
        }

        var before = GC.GetTotalMemory(forceFullCollection: true);
        const int cells = 100;
        for (var i = 0; i < cells; i++)
        {
            await ValueAsync($"{i} + 2");
        }

        Assert.InRange((GC.GetTotalMemory(forceFullCollection: true) - before) / cells, long.MinValue, 100_000);
    }

    private static byte[] House(string assembly)
    {
        var compilation = CSharpCompilation.Create(
            assembly,
            [CSharpSyntaxTree.ParseText("namespace Neighbour; public static class House { public static int Number => 12; }")],
            [MetadataReference.CreateFromFile(typeof(object).Assembly.Location)],
            new(OutputKind.DynamicallyLinkedLibrary));
        using var file = new MemoryStream();
        Assert.True(compilation.Emit(file).Success);
        return file.ToArray();
    }

    /// <summary>Runs a cell that declares <c>kept</c> and stops it once that has its value.</summary>
    private async Task<CellResult> StopAsync(string code)
    {
        using var stop = new CancellationTokenSource();
        var running = _session.RunAsync(code, $"cell {++_cells}", cancellation: stop.Token);
        while (!running.IsCompleted && _session.Variables.GetValueOrDefault("kept") is not 4)
        {
            await Task.Delay(20);
        }

        stop.CancelAfter(100);
        return await running;
    }

    private Task<CellResult> RunAsync(string code, TimeSpan? limit = null) => _session.RunAsync(code, $"cell {++_cells}", limit);

    private async Task<object?> ValueAsync(string code)
    {
        var result = await RunAsync(code);
        Assert.True(result.Error is null, string.Join('\n', result.Error?.Traceback ?? []));
        return result.Value;
    }

    private sealed class RecordingHost : INotebookHost, IDisplayHandle
    {
        public List<MimeBundle> Bundles { get; } = [];

        public List<string> Texts => [.. Bundles.Select(bundle => bundle.Text(MimeTypes.PlainText)!)];

        public IDisplayHandle Display(MimeBundle bundle)
        {
            Update(bundle);
            return this;
        }

        public void Update(MimeBundle bundle) => Bundles.Add(bundle);
    }
}
