using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>What reading a LoRA leaves out, assumes or refuses, and how it says so.</summary>
public sealed class LoraReadingTests : IDisposable
{
    private const string Layer = "lora_unet_mid_block_resnets_0_conv1";

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
        _scope.Dispose();
    }

    [Fact]
    public void Load_OfWhatIsNotOurs_LeavesItOutAndSaysSoOnce()
    {
        var path = Good(static tensors =>
        {
            tensors["bundle_emb.my token.clip_l"] = ones(2, 6);
            tensors[$"{Layer}.diff_b"] = ones(8);
            tensors["lora_unet_down_blocks_0_resnets_0_norm1.w_norm"] = ones(8);
            tensors["lora_unet_mid_block_attentions_0_proj_out.oft_blocks"] = ones(2, 2, 2);
            foreach (var i in Enumerable.Range(0, 15))
            {
                tensors[$"lora_unet_no_such_module_{i}.lora_down.weight"] = ones(2, 2);
                tensors[$"lora_unet_no_such_module_{i}.lora_up.weight"] = ones(2, 2);
            }
        });
        using var plain = LoraFile.Read(Good(static _ => { }, "plain"));

        StableDiffusionLora? lora = null;
        var told = Told(() => lora = StableDiffusionLora.Load(_pipeline, path));

        using var loaded = lora!;
        using var state = loaded.UNet!.ToState(loaded.Name);
        Assert.Equal(plain.States["unet"].Tensors.Keys.Order(StringComparer.Ordinal), state.Tensors.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(5, loaded.Notes.Count);
        var unknown = Assert.Single(loaded.Notes, static note => note.Kind == LoraNoteKind.Unknown);
        Assert.Equal((30, "the model has no such module"), (unknown.Names.Count, unknown.Reason));
        Assert.Contains("and 20 more", unknown.ToString());
        Assert.Equal(4, loaded.Notes.Count(static note => note.Kind == LoraNoteKind.Unsupported));
        var line = Assert.Single(told);
        Assert.Contains("left out 30 tensors (the model has no such module)", line);
        Assert.Contains("OneTrainer bundled", line);
        Assert.InRange(line.Split("lora_unet_").Length + line.Split("bundle_emb").Length - 2, 5, 10);
    }

    [Fact]
    public void Load_Strictly_RefusesWhatItWouldLeaveOut()
    {
        var path = Good(static tensors => tensors["bundle_emb.my token.clip_l"] = ones(2, 6));

        var told = Told(() =>
        {
            Assert.Contains("unsupported: bundle_emb.my token.clip_l", Assert.Throws<InvalidDataException>(() => StableDiffusionLora.Load(_pipeline, path, strict: true)).Message);
            Assert.Throws<InvalidDataException>(() => LoraFile.Read(path, strict: true));
            Assert.Throws<InvalidDataException>(() => LoraConversion.Convert(path, _folder.In("out.safetensors"), new LoraWriting(), strict: true));
            Assert.Throws<InvalidDataException>(() => LoraResizing.Resize(path, _folder.In("out.safetensors"), new RankChoice { Rank = 1 }, strict: true));
            Assert.Throws<InvalidDataException>(() => LoraMerging.Merge([(path, 1)], _folder.In("out.safetensors"), strict: true));
        });

        Assert.Empty(told);
        Assert.False(File.Exists(_folder.In("out.safetensors")));
        Assert.Single(Told(() => LoraMerging.Merge([(path, 1)], _folder.In("out.safetensors"))));
        Assert.Single(Told(() => LoraResizing.Resize(path, _folder.In("out.safetensors"), new RankChoice { Rank = 1 })));
        Assert.Single(Told(() => Assert.Single(LoraConversion.Convert(path, _folder.In("out.safetensors"), new LoraWriting()))));
        Assert.DoesNotContain(SafetensorsFile.LoadAll(_folder.In("out.safetensors")).Keys, static key => key.StartsWith("bundle_emb", StringComparison.Ordinal));
    }

    [Fact]
    public void Load_OfADamagedFile_IsRefusedInOtherWordsThanWhatIsNotKnown()
    {
        var path = Good(static tensors =>
        {
            tensors.Remove($"{Layer}.lora_up.weight");
            tensors["something.else"] = ones(1);
        });

        var message = Assert.Throws<InvalidDataException>(() => StableDiffusionLora.Load(_pipeline, path)).Message;
        var inspection = LoraInspection.Of(path);

        Assert.Contains("is damaged (1 fault)", message);
        Assert.Contains($"missing: {Layer}.lora_up.weight", message);
        Assert.DoesNotContain("something", message);
        Assert.Contains(inspection.Damaged, static fault => fault.StartsWith($"{Layer}.lora_up.weight", StringComparison.Ordinal));
        Assert.Contains("something.else", Assert.Single(inspection.Unknown));
        Assert.True(inspection.IsStrange);
    }

    /// <summary>Half of a layer is refused wherever it is read, an α alone is told.</summary>
    [Fact]
    public void PeftFolder_WithHalfALayer_IsDamagedAlsoForTools()
    {
        LoraConversion.Convert(Good(static _ => { }), _folder.In("peft"), new LoraWriting { Kind = LoraFileKind.Peft });
        var weights = _folder.In("peft", "unet", PeftFolder.WeightsName);
        var tensors = SafetensorsFile.LoadAll(weights);
        tensors.Remove("base_model.model.mid_block.resnets.0.conv1.lora_B.weight");
        SafetensorsFile.Write(weights, tensors);

        Assert.Contains("missing: base_model.model.mid_block.resnets.0.conv1.lora_B.weight", Assert.Throws<InvalidDataException>(() => LoraConversion.Convert(_folder.In("peft"), _folder.In("out"), new LoraWriting())).Message);
        using var file = LoraFile.Read(Good(static good =>
        {
            good.Remove($"{Layer}.lora_up.weight");
            good.Remove($"{Layer}.lora_down.weight");
        }));
        Assert.Equal("unet: mid_block.resnets.0.conv1", Assert.Single(Assert.Single(file.Notes).Names));
    }

    /// <summary>The kind of model comes first, then few names, whatever tells it: names, shapes that do not fit, or the metadata.</summary>
    [Theory]
    [InlineData("lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q", 4, null, "Stable Diffusion XL (SDXL)")]
    [InlineData("lora_te2_text_model_encoder_layers_0_mlp_fc1", 4, null, "Stable Diffusion XL (SDXL)")]
    [InlineData("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 1024, null, "Stable Diffusion 2.x")]
    [InlineData("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", 2048, null, "Stable Diffusion XL (SDXL)")]
    [InlineData("lora_unet_mid_block_resnets_0_conv9", 4, "sdxl_base_v1-0", "Stable Diffusion XL (SDXL)")]
    [InlineData("lora_unet_double_blocks_0_img_attn_qkv", 4, null, "Flux")]
    [InlineData("transformer.single_transformer_blocks.0.attn.to_q", 4, null, "Flux")]
    [InlineData("lora_unet_joint_blocks_0_x_block_attn_qkv", 4, null, "Stable Diffusion 3.x")]
    [InlineData("base_model.model.model.layers.0.self_attn.q_proj", 4, null, "a language model")]
    public void Load_OfALoraForAnotherModel_SaysSoBeforeAnyName(string module, int width, string? noted, string expected)
    {
        var tensors = new Dictionary<string, Tensor>();
        foreach (var i in Enumerable.Range(0, 30))
        {
            tensors[$"lora_unet_no_such_{i}.lora_down.weight"] = ones(1, 4);
            tensors[$"lora_unet_no_such_{i}.lora_up.weight"] = ones(4, 1);
        }

        tensors[$"{module}.lora_down.weight"] = ones(1, width);
        tensors[$"{module}.lora_up.weight"] = ones(4, 1);
        SafetensorsFile.Write(_folder.In("other.safetensors"), tensors, noted is null ? null : new Dictionary<string, string> { ["ss_base_model_version"] = noted, ["ss_network_module"] = "networks.lora" });

        var message = Assert.Throws<InvalidDataException>(() => StableDiffusionLora.Load(_pipeline, _folder.In("other.safetensors"))).Message;

        Assert.StartsWith($"This LoRA is for {expected}", message);
        Assert.Contains("the pipeline is Stable Diffusion 1.x", message[..200]);
        Assert.Equal(noted is not null, message[..200].Contains("kohya", StringComparison.Ordinal));
        Assert.InRange(message.Length, 100, 2000);
        Assert.InRange(message.Split("lora_unet_no_such_").Length - 1, 0, 10);
    }

    [Fact]
    public void Load_OfWeightsOfAnotherSize_SaysTheModelFirst()
    {
        SafetensorsFile.Write(_folder.In("sd2.safetensors"), new Dictionary<string, Tensor>
        {
            ["lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"] = ones(1, 1024),
            ["lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight"] = ones(8, 1),
        });

        Assert.StartsWith("This LoRA is for Stable Diffusion 2.x, the pipeline is Stable Diffusion 1.x", Assert.Throws<InvalidDataException>(() => StableDiffusionLora.Load(_pipeline, _folder.In("sd2.safetensors"))).Message);
    }

    [Fact]
    public void Load_OfALoraThatFits_DoesNotAskWhatItIsFor()
    {
        var path = Good(static _ => { });
        SafetensorsFile.Write(path, SafetensorsFile.LoadAll(path), new Dictionary<string, string> { ["ss_base_model_version"] = "sdxl_base_v1-0" });

        using var lora = StableDiffusionLora.Load(_pipeline, path);

        Assert.NotNull(lora.UNet);
    }

    [Fact]
    public void Merge_OfLorasForDifferentModels_SaysSo()
    {
        SafetensorsFile.Write(_folder.In("xl.safetensors"), new Dictionary<string, Tensor> { ["lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"] = ones(1, 4), ["lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"] = ones(4, 1) });

        var message = Assert.Throws<ArgumentException>(() => LoraMerging.Merge([(Good(static _ => { }), 1), (_folder.In("xl.safetensors"), 1)], _folder.In("out.safetensors"))).Message;

        Assert.Contains("xl.safetensors' is for Stable Diffusion XL (SDXL)", message);
    }

    [Theory]
    [InlineData("model.diffusion_model.input_blocks.0.0.weight", "whole model")]
    [InlineData("emb_params", "embedding")]
    [InlineData("ip_adapter.1.to_k_ip.weight", "IP-Adapter")]
    public void Load_OfWhatIsNoLora_SaysWhatItIs(string name, string expected)
    {
        SafetensorsFile.Write(_folder.In("other.safetensors"), new Dictionary<string, Tensor> { [name] = ones(2) });

        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => StableDiffusionLora.Load(_pipeline, _folder.In("other.safetensors"))).Message);
    }

    [Fact]
    public void Load_OfWeightsOfEightBits_IsTheLoraOfTheirValues()
    {
        var path = Good(static _ => { });
        var values = SafetensorsFile.LoadAll(path);
        const string key = $"{Layer}.lora_down.weight";
        var bytes = rand(values[key].shape, generator: new Generator(1)).mul(100).to(ScalarType.Byte);
        values[key] = bytes;
        SafetensorsFile.Write(_folder.In("f8.safetensors"), values);
        Rename(_folder.In("f8.safetensors"), "\"U8\"", "\"F8_E4M3\"");

        using var lora = StableDiffusionLora.Load(_pipeline, _folder.In("f8.safetensors"));
        using var state = lora.UNet!.ToState(lora.Name);

        var expected = bytes.data<byte>().ToArray().Select(static bits => bits < 8 ? bits / 512f : (1 + (bits & 7) / 8f) * MathF.Pow(2, (bits >> 3) - 7)).ToArray();
        Assert.Equal(expected, state.Tensors["mid_block.resnets.0.conv1.lora_A.weight"].data<float>().ToArray());
        Assert.Contains("F8_E4M3", LoraInspection.Of(_folder.In("f8.safetensors")).DTypes);
    }

    /// <summary>The header with another word in place of one, its length kept by the blanks at its end.</summary>
    private static void Rename(string path, string old, string word)
    {
        var bytes = File.ReadAllBytes(path);
        var length = (int)BitConverter.ToUInt64(bytes, 0);
        var header = System.Text.Encoding.UTF8.GetString(bytes, 8, length).Replace(old, word, StringComparison.Ordinal).TrimEnd();
        var padded = System.Text.Encoding.UTF8.GetBytes(header.PadRight((header.Length + 7) / 8 * 8));
        File.WriteAllBytes(path, [.. BitConverter.GetBytes((ulong)padded.Length), .. padded, .. bytes.AsSpan(8 + length)]);
    }

    private static List<string> Told(Action work)
    {
        var before = Console.Error;
        using var writer = new StringWriter();
        Console.SetError(writer);
        try
        {
            work();
        }
        finally
        {
            Console.SetError(before);
        }

        return [.. writer.ToString().Split(Environment.NewLine, StringSplitOptions.RemoveEmptyEntries)];
    }

    /// <summary>A LoRA of this pipeline, changed.</summary>
    private string Good(Action<Dictionary<string, Tensor>> change, string name = "lora")
    {
        var path = _folder.In($"{name}.safetensors");
        using (var lora = StableDiffusionLora.Create(_pipeline, name, new LoraConfig { Rank = 2, TargetModules = ["to_q", "conv1"] }, null, seed: 1))
        {
            lora.SaveKohya(path);
        }

        var tensors = SafetensorsFile.LoadAll(path);
        change(tensors);
        SafetensorsFile.Write(path, tensors);
        return path;
    }
}
