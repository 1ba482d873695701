using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>LoRA on UNet and text encoder against peft, diffusers and kohya-ss/sd-scripts: the unet-lora cases.</summary>
[Trait("Category", "Parity")]
public sealed partial class LoraParityTests(ParityTable table) : IClassFixture<ParityTable>
{
    private const string Cases = "unet-lora";
    private const string DiffusersFile = "pytorch_lora_weights.safetensors";

    [Theory]
    [InlineData("attn")]
    [InlineData("full")]
    public void PeftFolders_OnUNetAndTextEncoder_GiveUpstreamsOutputsAtEveryScaleAndMerged(string name)
    {
        using var test = new LoraCase(table, name);
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
        using var test = new LoraCase(table, name);
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

    /// <summary>Every case with one file for a whole Stable Diffusion; those of LyCORIS lie only in a whole folder of cases.</summary>
    public static TheoryData<string, string> FileCases { get; } = FilesOf("attn", "full", "kohya-attn", "kohya-conv", "lycoris-locon", "lycoris-loha", "lycoris-lokr");

    [Theory]
    [MemberData(nameof(FileCases))]
    public void LoraFile_LoadedIntoThePipeline_GivesUpstreamsOutputsAtEveryWeightAndMerged(string name, string file)
    {
        using var test = new LoraCase(table, name);
        using var lora = StableDiffusionLora.Load(test.Pipeline, test.File(file));

        test.CheckScales(scale => lora.Weight = scale);
        lora.UNet!.Merge(lora.Name);
        lora.TextEncoder!.Merge(lora.Name);
        test.CheckMerged();
    }

    [Fact]
    public void DiffusersFile_WithoutMetadata_TakesAlphaFromTheRank()
    {
        using var test = new LoraCase(table, "attn");
        using var lora = StableDiffusionLora.Load(test.Pipeline, test.File("pytorch_lora_weights_nometa.safetensors"));
        using var noGrad = no_grad();

        test.Close("unet.a.diffusers_file_without_metadata", test.RunUNet("a"), "unet");
    }

    [Fact]
    public void TwoLoras_OnOneUNet_AddUpByTheirWeights()
    {
        using var test = new LoraCase(table, "two-adapters", "attn");
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

    /// <summary>The case of SDXL, whose base model is too large to be shipped, in a whole folder of cases.</summary>
    [Fact]
    public void SdxlFile_WithOriginalNames_GivesUpstreamsOutputsAtEveryWeightAndMerged()
    {
        foreach (var name in Fixtures.IsWhole ? ["sdxl-kohya-sgm-names"] : Array.Empty<string>())
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var description = Fixtures.Json(Cases, name, "case.json");
            var (limit, folder) = (description.GetProperty("tolerance").GetDouble(), Fixtures.Case(Cases, name));
            var model = Fixtures.BaseModelOf(Cases, name);
            using var pipeline = StableDiffusionPipeline.FromFolder(model);
            var (inputs, expected) = (SafetensorsFile.LoadAll(Path.Combine(model, "inputs.safetensors")), Fixtures.Tensors(Cases, name, "expected.safetensors"));
            using var lora = StableDiffusionLora.Load(pipeline, Path.Combine(folder, "kohya_sdxl_lora.safetensors"));

            Assert.NotEmpty(expected);
            foreach (var (key, sample) in expected)
            {
                lora.Weight = double.Parse(key["sample.scale".Length..], CultureInfo.InvariantCulture);
                table.Check(name, "output", Fixtures.MaxDifference(sample, Run()), limit, key);
            }

            lora.Weight = 1;
            lora.Merge();
            table.Check(name, "merged", Fixtures.MaxDifference(expected["sample.scale1.0"], Run()), limit);

            Tensor Run() => pipeline.UNet.call(inputs["unet.0.latents"], inputs["unet.0.timesteps"], new Conditioning(inputs["unet.0.context"], inputs["unet.0.text_embeds"], inputs["unet.0.time_ids"]));
        }
    }

    /// <summary>A case of a kind that no test knows must not go unnoticed.</summary>
    [Fact]
    public void Cases_OfTheFolder_AreAllCovered() => Assert.Empty(
        Directory.GetDirectories(Fixtures.Case(Cases)).Select(static folder => Path.GetFileName(folder)!)
            .Except([.. FileCases.Select(static row => (string)row[0]), "two-adapters", "sdxl-kohya-sgm-names"]));

    private static TheoryData<string, string> FilesOf(params string[] cases)
    {
        var data = new TheoryData<string, string>();
        foreach (var name in cases.Where(name => Fixtures.IsWhole || Directory.Exists(Path.Combine(Fixtures.Root, Cases, name))))
        {
            var file = new[] { DiffusersFile, "kohya_lora.safetensors", "lycoris.safetensors" }.Single(file => File.Exists(Path.Combine(Fixtures.Case(Cases, name), file)));
            data.Add(name, file);
        }

        return data;
    }

    private static double Number(Group group) => double.Parse(group.Value, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^sample\.a(?<a>[-\d.]+)_b(?<b>[-\d.]+)$")]
    private static partial Regex SampleName();

    [GeneratedRegex(@"^(?<what>unet\.(?<input>\w+)|text)\.scale(?<scale>[-\d.]+?)(\.(?<state>last_hidden_state|penultimate))?$")]
    private static partial Regex ScaleName();

    /// <summary>One case: its pipeline, inputs, expected outputs and limits.</summary>
    private sealed class LoraCase : IDisposable
    {
        private readonly ParityTable _table;
        private readonly string _name;
        private readonly string _folder;
        private readonly TorchSharp.DisposeScope _scope = NewDisposeScope();

        public LoraCase(ParityTable table, string name, string? pipelineOf = null)
        {
            (_table, _name) = (table, name);
            _folder = Fixtures.Case(Cases, name);
            Json = Fixtures.Json(Cases, name, "case.json");
            Pipeline = StableDiffusionPipeline.FromFolder(Fixtures.BaseModelOf(Cases, pipelineOf ?? name));
            Inputs = Fixtures.Tensors(Cases, name, "inputs.safetensors");
            Expected = Fixtures.Tensors(Cases, name, "expected.safetensors");
        }

        public JsonElement Json { get; }

        public StableDiffusionPipeline Pipeline { get; }

        public Dictionary<string, Tensor> Inputs { get; }

        public Dictionary<string, Tensor> Expected { get; }

        public string File(string name) => Path.GetFullPath(Path.Combine(_folder, name));

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
            Merged("unet.a", "", RunUNet("a"), "unet");
            Merged("unet.b", "", RunUNet("b"), "unet");
            Merged("text", ".last_hidden_state", Pipeline.TextEncoder.call(Inputs["text.input_ids"]), "text");
            foreach (var (key, weight) in Expected.Where(pair => pair.Key.StartsWith("merged_weight.", StringComparison.Ordinal)))
            {
                Close(key, weight, Pipeline.UNet.get_parameter(key["merged_weight.".Length..])!, "merged");
            }
        }

        /// <summary>Where upstream did not merge, the merged model must be the one at scale 1.</summary>
        private void Merged(string what, string state, Tensor actual, string otherwise) =>
            Close(Expected.ContainsKey($"{what}.merged{state}") ? $"{what}.merged{state}" : $"{what}.scale1.0{state}", actual, Json.GetProperty("tolerance").TryGetProperty("merged", out _) ? "merged" : otherwise);

        public void Close(string key, Tensor actual, string? limit) => Close(key, Expected[key], actual, limit);

        public void Close(string key, Tensor expected, Tensor actual, string? limit)
        {
            var tolerance = Json.GetProperty("tolerance");
            var most = (limit is null ? tolerance : tolerance.GetProperty(limit)).GetDouble();
            var quantity = key.StartsWith("grad.", StringComparison.Ordinal) ? "loss, gradients" : limit switch { "unet" => "UNet", "text" => "text encoder", "merged" => "merged", _ => "output" };
            _table.Check(_name, quantity, Fixtures.MaxDifference(expected, actual), most, key);
        }

        public void Dispose()
        {
            Pipeline.Dispose();
            _scope.Dispose();
        }
    }
}
