using System.Text.Json;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;

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
            using var lora = StableDiffusionLora.Create(pipeline, name, new LoraConfig { Rank = 4, Alpha = 2, TargetModules = ["attn1.to_q", "conv1"] }, null, seed);
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
        var (exit, text) = await ToolProcess.RunAsync(_folder.Path, [.. arguments.Select(static argument => argument.Replace("{base}", BaseModel.Folder, StringComparison.Ordinal))]);

        Assert.Equal(expected, exit);
        Assert.Contains(message, text, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder.File("out.safetensors")));
    }
}
