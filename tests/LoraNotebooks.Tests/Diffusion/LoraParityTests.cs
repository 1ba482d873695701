using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>LoRA on UNet and text encoder against peft, diffusers and kohya-ss/sd-scripts: the unet-lora cases.</summary>
[Trait("Category", "Parity")]
public sealed partial class LoraParityTests
{
    private const string Cases = "unet-lora";
    private const string DiffusersFile = "pytorch_lora_weights.safetensors";

    [Theory]
    [InlineData("attn")]
    [InlineData("full")]
    public void PeftFolders_OnUNetAndTextEncoder_GiveUpstreamsOutputsAtEveryScaleAndMerged(string name)
    {
        using var test = new LoraCase(name);
        using var unet = new AdaptedModel(test.Pipeline.UNet);
        using var text = new AdaptedModel(test.Pipeline.TextEncoder);
        using var unetState = PeftFolder.Read(test.File("peft_unet"));
        using var textState = PeftFolder.Read(test.File("peft_text_encoder"));
        unet.Add(name, unetState);
        text.Add(name, textState);

        test.CheckScales(scale =>
        {
            unet.SetWeight(name, scale);
            text.SetWeight(name, scale);
        });
        unet.Merge();
        text.Merge();
        test.CheckMerged();
        unet.Unmerge();
        text.Unmerge();
        test.CheckScales(scale =>
        {
            unet.SetWeight(name, scale);
            text.SetWeight(name, scale);
        });
    }

    [Theory]
    [InlineData("attn")]
    [InlineData("full")]
    public void Loss_OfTheAdaptedUNet_HasPeftsGradients(string name)
    {
        using var test = new LoraCase(name);
        using var unet = new AdaptedModel(test.Pipeline.UNet);
        using var state = PeftFolder.Read(test.File("peft_unet"));
        unet.Add(name, state);

        var loss = (test.RunUNet("a") - test.Inputs["grad.target"]).square().mean();
        loss.backward();
        test.Close("grad.loss", loss, "unet");

        var gradients = unet.NamedParameters(name).ToDictionary(p => "grad.base_model.model." + p.Name, p => p.Parameter.grad!);
        var expected = test.Expected.Where(pair => pair.Key.StartsWith("grad.base_model", StringComparison.Ordinal)).ToList();
        Assert.NotEmpty(expected);
        foreach (var (key, gradient) in expected)
        {
            test.Close(key, gradient, gradients[key], "unet");
        }

        Assert.All(test.Pipeline.UNet.parameters(), parameter => Assert.Null(parameter.grad));
    }

    [Theory]
    [InlineData("attn", DiffusersFile)]
    [InlineData("full", DiffusersFile)]
    [InlineData("kohya-attn", "kohya_lora.safetensors")]
    [InlineData("kohya-conv", "kohya_lora.safetensors")]
    public void LoraFile_LoadedIntoThePipeline_GivesUpstreamsOutputsAtEveryWeightAndMerged(string name, string file)
    {
        using var test = new LoraCase(name);
        using var lora = StableDiffusionLora.Load(test.Pipeline, test.File(file));

        test.CheckScales(scale => lora.Weight = scale);
        lora.UNet!.Merge(lora.Name);
        lora.TextEncoder!.Merge(lora.Name);
        test.CheckMerged();
    }

    [Fact]
    public void DiffusersFile_WithoutMetadata_TakesAlphaFromTheRank()
    {
        using var test = new LoraCase("attn");
        using var lora = StableDiffusionLora.Load(test.Pipeline, test.File("pytorch_lora_weights_nometa.safetensors"));
        using var noGrad = no_grad();

        test.Close("unet.a.diffusers_file_without_metadata", test.RunUNet("a"), "unet");
    }

    [Fact]
    public void TwoLoras_OnOneUNet_AddUpByTheirWeights()
    {
        using var test = new LoraCase("two-adapters", "attn");
        using var first = StableDiffusionLora.Load(test.Pipeline, test.File(test.Json.GetProperty("a").GetString()!), "a");
        using var second = StableDiffusionLora.Load(test.Pipeline, test.File(test.Json.GetProperty("b").GetString()!.Split(' ')[0]), "b");
        using var noGrad = no_grad();

        foreach (var key in test.Expected.Keys)
        {
            var weights = SampleName().Match(key);
            first.Weight = Number(weights.Groups["a"]);
            second.Weight = Number(weights.Groups["b"]);
            var output = test.Pipeline.UNet.call(test.Inputs["latents"], test.Inputs["timesteps"], test.Inputs["context"]);
            test.Close(key, output, limit: null);
        }
    }

    [Theory]
    [InlineData("kohya-attn")]
    [InlineData("kohya-conv")]
    public void Hash_OfKohyasFile_IsTheOneInItsMetadata(string name)
    {
        var path = Path.Combine(Fixtures.Case(Cases, name), "kohya_lora.safetensors");
        using var file = SafetensorsFile.Open(path);

        Assert.Equal(file.Metadata["sshs_model_hash"], KohyaFile.Hashes(path).Model);
    }

    private static double Number(Group group) => double.Parse(group.Value, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^sample\.a(?<a>[-\d.]+)_b(?<b>[-\d.]+)$")]
    private static partial Regex SampleName();

    [GeneratedRegex(@"^(?<what>unet\.(?<input>\w+)|text)\.scale(?<scale>[-\d.]+?)(\.(?<state>last_hidden_state|penultimate))?$")]
    private static partial Regex ScaleName();

    /// <summary>One case: its pipeline, inputs, expected outputs and limits.</summary>
    private sealed class LoraCase : IDisposable
    {
        private readonly string folder;
        private readonly TorchSharp.DisposeScope scope = NewDisposeScope();

        public LoraCase(string name, string? pipelineOf = null)
        {
            folder = Fixtures.Case(Cases, name);
            Json = Fixtures.Json(Cases, name, "case.json");
            var baseModel = Fixtures.Json(Cases, pipelineOf ?? name, "case.json").GetProperty("base_model").GetString()!;
            Pipeline = StableDiffusionPipeline.FromFolder(Path.GetFullPath(Path.Combine(folder, baseModel)));
            Inputs = Fixtures.Tensors(Cases, name, "inputs.safetensors");
            Expected = Fixtures.Tensors(Cases, name, "expected.safetensors");
        }

        public JsonElement Json { get; }

        public StableDiffusionPipeline Pipeline { get; }

        public Dictionary<string, Tensor> Inputs { get; }

        public Dictionary<string, Tensor> Expected { get; }

        public string File(string name) => Path.GetFullPath(Path.Combine(folder, name));

        public Tensor RunUNet(string input) => Pipeline.UNet.call(Inputs[$"unet.{input}.latents"], Inputs[$"unet.{input}.timesteps"], Inputs[$"unet.{input}.context"]);

        public void CheckScales(Action<double> setScale)
        {
            using var noGrad = no_grad();
            var outputs = Expected.Keys.Select(key => ScaleName().Match(key)).Where(match => match.Success).ToList();
            Assert.NotEmpty(outputs);
            foreach (var match in outputs)
            {
                setScale(Number(match.Groups["scale"]));
                if (match.Groups["input"].Success)
                {
                    Close(match.Value, RunUNet(match.Groups["input"].Value), "unet");
                }
                else
                {
                    var isLast = match.Groups["state"].Value == "last_hidden_state";
                    Close(match.Value, Pipeline.TextEncoder.HiddenStates(Inputs["text.input_ids"], isLast ? 1 : 2, finalLayerNorm: isLast), "text");
                }
            }
        }

        public void CheckMerged()
        {
            using var noGrad = no_grad();
            Close("unet.a.merged", RunUNet("a"), "merged");
            Close("unet.b.merged", RunUNet("b"), "merged");
            Close("text.merged.last_hidden_state", Pipeline.TextEncoder.call(Inputs["text.input_ids"]), "merged");
            foreach (var (key, weight) in Expected.Where(pair => pair.Key.StartsWith("merged_weight.", StringComparison.Ordinal)))
            {
                Close(key, weight, Pipeline.UNet.get_parameter(key["merged_weight.".Length..])!, "merged");
            }
        }

        public void Close(string key, Tensor actual, string? limit) => Close(key, Expected[key], actual, limit);

        public void Close(string key, Tensor expected, Tensor actual, string? limit)
        {
            var tolerance = Json.GetProperty("tolerance");
            var most = (limit is null ? tolerance : tolerance.GetProperty(limit)).GetDouble();
            var difference = Fixtures.MaxDifference(expected, actual);
            Assert.True(difference <= most, $"{key}: difference {difference:E2}, expected at most {most:E0}");
        }

        public void Dispose()
        {
            Pipeline.Dispose();
            scope.Dispose();
        }
    }
}
