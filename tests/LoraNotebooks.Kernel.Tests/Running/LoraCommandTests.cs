using System.Text.Json;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary><c>lora-notebooks lora …</c> as users start it, on a LoRA of the embedded base.</summary>
public sealed class LoraCommandTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public LoraCommandTests()
    {
        using var pipeline = StableDiffusionPipeline.FromFolder(BaseModel.Folder);
        foreach (var (name, seed) in new[] { ("a", 1L), ("b", 2L) })
        {
            using var lora = StableDiffusionLora.Create(
                pipeline,
                name,
                new LoraConfig { Rank = 4, Alpha = 2, TargetModules = ["attn1.to_q", "conv1"] },
                null,
                seed);
            using var noGrad = TorchSharp.torch.no_grad();
            foreach (var parameter in lora.UNetParameters)
            {
                parameter.add_(0.01);
            }

            lora.SaveKohya(_folder.File($"{name}.safetensors"));
        }
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Commands_OneAfterTheOther_WriteWhatTheySay()
    {
        var (exit, text) = await ToolProcess.RunAsync(_folder.Path, "lora", "convert", "a.safetensors", "peft", "--to", "peft", "--dtype", "fp16");
        Assert.True(exit == 0, text);
        Assert.Contains("peft: ", text, StringComparison.Ordinal);
        Assert.True(File.Exists(_folder.File("peft/unet/adapter_config.json")));

        (exit, text) = await ToolProcess.RunAsync(_folder.Path, "lora", "inspect", "peft", "--json");
        Assert.True(exit == 0, text);
        var json = JsonDocument.Parse(text).RootElement;
        Assert.Equal(("peft", "Float16"), (json.GetProperty("kind").GetString(), json.GetProperty("dTypes")[0].GetString()));
        Assert.Equal(4, json.GetProperty("layers")[0].GetProperty("rank").GetInt32());

        (exit, text) = await ToolProcess.RunAsync(_folder.Path, "lora", "inspect", "a.safetensors");
        Assert.True(exit == 0, text);
        Assert.Contains("Kohya", text, StringComparison.Ordinal);
        Assert.Contains("(as noted in the file)", text, StringComparison.Ordinal);

        (exit, text) = await ToolProcess.RunAsync(_folder.Path, "lora", "merge", "a.safetensors:0.5", "b.safetensors", "-o", "sum.safetensors");
        Assert.True(exit == 0, text);
        (exit, text) = await ToolProcess.RunAsync(_folder.Path, "lora", "resize", "sum.safetensors", "small.safetensors", "--rank", "2");
        Assert.True(exit == 0, text);
        Assert.Contains("8 to 2", text, StringComparison.Ordinal);
        Assert.True(new FileInfo(_folder.File("small.safetensors")).Length < new FileInfo(_folder.File("sum.safetensors")).Length);

        (exit, text) = await ToolProcess.RunAsync(_folder.Path, "lora", "merge", "a.safetensors", "--into", BaseModel.Folder, "-o", "model");
        Assert.True(exit == 0, text);
        (exit, text) = await ToolProcess.RunAsync(_folder.Path, "lora", "extract", BaseModel.Folder, "model", "found.safetensors", "--rank", "4");
        Assert.True(exit == 0, text);
        Assert.Contains("error 0.0", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(3, "no safetensors file", "lora", "inspect", "missing.safetensors")]
    [InlineData(1, "--rank", "lora", "resize", "a.safetensors", "out.safetensors")]
    [InlineData(1, "Rank: got 0", "lora", "resize", "a.safetensors", "out.safetensors", "--rank", "0")]
    [InlineData(1, "No layer of", "lora", "extract", "{base}", "{base}", "out.safetensors", "--rank", "4")]
    public async Task Command_OnWrongArguments_SaysWhatIsWrongAndWritesNothing(int expected, string message, params string[] arguments)
    {
        var (exit, text) = await ToolProcess.RunAsync(
            _folder.Path,
            [.. arguments.Select(static argument => argument.Replace("{base}", BaseModel.Folder, StringComparison.Ordinal))]);

        Assert.Equal(expected, exit);
        Assert.Contains(message, text, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder.File("out.safetensors")));
    }

    /// <summary>What is not ours is left out, is told in one line on the error stream, and with --strict ends the command.</summary>
    [Fact]
    public async Task Commands_OnAFileWithStrangeTensors_SayOnceWhatIsLeftOutOrRefuse()
    {
        var tensors = SafetensorsFile.LoadAll(_folder.File("a.safetensors"));
        tensors["bundle_emb.word.clip_l"] = TorchSharp.torch.ones(2, 2);
        SafetensorsFile.Write(_folder.File("bundle.safetensors"), tensors);
        string[][] commands =
        [
            ["convert", "bundle.safetensors", "out.safetensors"],
            ["resize", "bundle.safetensors", "out.safetensors", "--rank", "2"],
            ["merge", "bundle.safetensors", "-o", "out.safetensors"],
            ["merge", "bundle.safetensors", "--into", BaseModel.Folder, "-o", "model"],
        ];
        foreach (var command in commands)
        {
            var (refused, why) = await ToolProcess.RunAsync(_folder.Path, ["lora", .. command, "--strict"]);
            Assert.Equal(1, refused);
            Assert.Contains("unsupported: bundle_emb.word.clip_l", why, StringComparison.Ordinal);
            Assert.False(File.Exists(_folder.File("out.safetensors")) || Directory.Exists(_folder.File("model")), string.Join(' ', command));

            var (exit, text) = await ToolProcess.RunAsync(_folder.Path, ["lora", .. command]);
            Assert.True(exit == 0, text);
            Assert.Equal(2, text.Split("bundle_emb").Length);
            File.Delete(_folder.File("out.safetensors"));
        }

        var (seen, inspection) = await ToolProcess.RunAsync(_folder.Path, "lora", "inspect", "bundle.safetensors");
        Assert.Equal(0, seen);
        Assert.Contains("for Stable Diffusion 1.x", inspection, StringComparison.Ordinal);
        Assert.Contains("Not supported, left out by readers (1):", inspection, StringComparison.Ordinal);
        Assert.Equal(1, (await ToolProcess.RunAsync(_folder.Path, "lora", "inspect", "bundle.safetensors", "--strict")).Exit);
    }

    [Fact]
    public async Task Commands_OnNumbersThatAreNotFinite_SayWhichAndWriteNothing()
    {
        var tensors = SafetensorsFile.LoadAll(_folder.File("a.safetensors"));
        var key = tensors.Keys.First(static key => key.EndsWith("lora_up.weight", StringComparison.Ordinal));
        using (TorchSharp.torch.no_grad())
        {
            tensors[key].fill_(1e6f);
        }

        SafetensorsFile.Write(_folder.File("large.safetensors"), tensors);
        var (exit, text) = await ToolProcess.RunAsync(_folder.Path, "lora", "convert", "large.safetensors", "out.safetensors", "--dtype", "fp16");
        Assert.Equal(1, exit);
        Assert.Contains("Write bf16 or fp32", text, StringComparison.Ordinal);
        using (TorchSharp.torch.no_grad())
        {
            tensors[key].fill_(float.NaN);
        }

        SafetensorsFile.Write(_folder.File("nan.safetensors"), tensors);
        foreach (string[] command in (string[][])
        [
            ["convert", "nan.safetensors", "out.safetensors"],
            ["merge", "nan.safetensors", "-o", "out.safetensors"],
            ["resize", "nan.safetensors", "out.safetensors", "--rank", "1"],
        ])
        {
            (exit, text) = await ToolProcess.RunAsync(_folder.Path, ["lora", .. command]);
            Assert.Equal(1, exit);
            Assert.Contains("not finite", text, StringComparison.Ordinal);
        }

        Assert.Contains("Not finite (1):", (await ToolProcess.RunAsync(_folder.Path, "lora", "inspect", "nan.safetensors")).Text, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder.File("out.safetensors")));
    }
}
